"""Good input made bad: every draw comes from one random.Random, so an input is known by its number alone."""

from __future__ import annotations

import struct
from random import Random

NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
WORDS = ("", " ", "0", "-1", "1e999", "nan", "inf", "-inf", "1" * 400, "null", "true", "[]", "{}", "[1, 2", "\u0000",
         "ä" * 5, "\U0001f9e0", "../../x", "a" * 3000, "!!python/object/apply:os.system ['true']", "${oc.env:HOME}",
         "${a", "&a [*a]", "1,2,3", "=", "==", ",", "\n", "\"", "'", "%s", "0x10", "1_000", "9" * 30, "2.5", "Edema")


def mutated(seeds: list[bytes], random: Random) -> bytes:
    """One of the seeds after none to eight changes of a kind that breaks binary files."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.randrange(9)):
        random.choice(BINARY)(data, random, seeds)
    return bytes(data)


def mutated_text(seeds: list[str], random: Random) -> str:
    """One of the seeds after none to eight changes of a kind that breaks text: words swapped, lines lost, and bytes."""
    text = random.choice(seeds)
    for _ in range(random.randrange(9)):
        text = random.choice(TEXTUAL)(text, random)
    return text


def _place(data, random: Random) -> int:
    # half of the changes go to the head of a file, where its structure is
    return random.randrange(min(len(data), 400) if random.random() < 0.5 else len(data)) if data else 0


def _flip(data, random, _):
    if data:
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _byte(data, random, _):
    if data:
        data[_place(data, random)] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))


def _number(data, random, _):
    at, form = _place(data, random), random.choice(["<I", ">I", "<H", ">H", "<Q"])
    width = struct.calcsize(form)
    data[at : at + width] = struct.pack(form, random.choice(NUMBERS) % 256**width)


def _cut(data, random, _):
    del data[_place(data, random):]


def _remove(data, random, _):
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 8, random.randrange(1, 200)))]


def _repeat(data, random, _):
    at = _place(data, random)
    data[at:at] = data[at : at + random.choice((1, 2, 4, 8, random.randrange(1, 200)))] * random.choice((1, 1, 2, 50))


def _noise(data, random, _):
    at = _place(data, random)
    data[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(1, 16)))


def _splice(data, random, seeds):
    other = random.choice(seeds)
    at, start = _place(data, random), random.randrange(len(other))
    data[at : at + random.randrange(1, 200)] = other[start : start + random.randrange(1, 200)]


BINARY = (_flip, _flip, _byte, _byte, _number, _number, _cut, _remove, _repeat, _noise, _splice)


def _word(text, random):
    """Replace what stands between two separators."""
    marks = [-1, *(k for k, c in enumerate(text) if c in ",:=\n {}[]\""), len(text)]
    k = random.randrange(len(marks) - 1)
    return text[: marks[k] + 1] + random.choice(WORDS) + text[marks[k + 1] :]


def _line(text, random):
    lines = text.split("\n")
    k = random.randrange(len(lines))
    change = random.randrange(3)
    lines[k : k + 1] = [] if change == 0 else [lines[k]] * 2 if change == 1 else [lines[k], random.choice(WORDS)]
    return "\n".join(lines)


def _swap(text, random):
    lines = text.split("\n")
    a, b = random.randrange(len(lines)), random.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return "\n".join(lines)


def _characters(text, random):
    data = bytearray(text.encode())
    random.choice(BINARY[:10])(data, random, [b"x"])
    return data.decode(errors="replace")


TEXTUAL = (_word, _word, _word, _line, _swap, _characters, _characters)
