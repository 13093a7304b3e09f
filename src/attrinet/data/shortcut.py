"""Spurious tags drawn into a store (§4.5): a known shortcut, to see whether a model takes it and whether guidance
takes it away again. The text tag with its defaults is the paper's: "CXR-ROOM1" on half of the Cardiomegaly positives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from attrinet.data.manifest import NO_PATIENTS
from attrinet.data.sampling import generator_for
from attrinet.data.source import Source
from attrinet.data.store import Store
from attrinet.errors import AttrinetError

DRAWN_AT = 320  # pixels a side of the canvas that tags are drawn on; measures below are in these pixels
KINDS = ("text", "marker", "border")
TEXT, FONT_SIZE, TEXT_AT = "CXR-ROOM1", 18, (20, 280)  # §4.5: bold monospace, black
MARKER_SIDE, MARKER_AT = 18, (20, 280)
BORDER_WIDTH = 5
INK = {"text": 0, "marker": 255, "border": 255}  # grey level of each kind
PURPOSES = {"chosen": 71, "place": 72}  # keep the uses of the seed apart


@dataclass(frozen=True)
class Tag:
    """What is drawn. kind: text, marker (a white square) or border (a burnt-in white frame).

    place: "fixed", or "anywhere": a place of its own for every image, from `seed`; a border has only one.
    """

    kind: str = "text"
    text: str = TEXT
    place: str = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise AttrinetError(f"tag {self.kind!r}: choose one of {', '.join(KINDS)}")
        if self.place not in ("fixed", "anywhere"):
            raise AttrinetError(f"place {self.place!r}: choose fixed or anywhere")
        if self.kind == "text" and not self.text.strip():
            raise AttrinetError("the tag's text is empty")

    @property
    def fixed(self) -> bool:
        """Whether it is at the same place in every image."""
        return self.place == "fixed" or self.kind == "border"

    def cover(self, size: int, row: int) -> np.ndarray:
        """How much of each pixel of image `row` the tag covers: (size, size) float32 in [0, 1]."""
        return _cover(self, size, -1 if self.fixed else row)

    def mask(self, size: int, row: int) -> np.ndarray:
        """(size, size) bool: pixels that are the tag, those covered at least half as much as its fullest pixel."""
        cover = self.cover(size, row)
        return cover >= 0.5 * cover.max()

    def drawn(self, grey: np.ndarray, row: int) -> np.ndarray:
        """uint8 (size, size) with the tag on it."""
        cover = self.cover(len(grey), row)
        return (grey * (1 - cover) + INK[self.kind] * cover).round().astype(np.uint8)


def check_room(tag: Tag) -> None:
    """Raise AttrinetError for a text that would be cut at the edge of the image."""
    at = TEXT_AT if tag.fixed else (0, 0)
    for name, start, length in zip(("wide", "high"), at, _extent(tag), strict=True):
        if tag.kind == "text" and start + length > DRAWN_AT:
            raise AttrinetError(f"the tag's text {tag.text!r} would be cut: it is {length:.0f} pixels {name} on images "
                                f"of {DRAWN_AT}, where {DRAWN_AT - start} are left; take a shorter one")


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono:bold"), FONT_SIZE)  # comes with matplotlib


def _extent(tag: Tag) -> tuple[float, float]:
    """How far a text or marker drawn at (0, 0) reaches to the right and down."""
    if tag.kind != "text":
        return MARKER_SIDE, MARKER_SIDE
    return ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), tag.text, _font())[2:]


@lru_cache(maxsize=64)
def _cover(tag: Tag, size: int, row: int) -> np.ndarray:
    canvas = Image.new("L", (DRAWN_AT, DRAWN_AT))
    draw = ImageDraw.Draw(canvas)
    if tag.kind == "border":
        draw.rectangle((0, 0, DRAWN_AT - 1, DRAWN_AT - 1), outline=255, width=BORDER_WIDTH)
    else:
        font, (x1, y1) = _font(), _extent(tag)
        x, y = TEXT_AT if tag.kind == "text" else MARKER_AT
        if row >= 0:
            random = generator_for(tag.seed, PURPOSES["place"], row)
            x, y = (int(random.integers(0, max(int(DRAWN_AT - side), 1))) for side in (x1, y1))
        if tag.kind == "text":
            draw.text((x, y), tag.text, 255, font)
        else:
            draw.rectangle((x, y, x + MARKER_SIDE - 1, y + MARKER_SIDE - 1), fill=255)
    cover = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    if not cover.any():
        raise AttrinetError(f"the tag {tag.text!r} leaves no mark on {size}×{size} pixels")
    return cover


def shortcut_source(
    path: str | Path, finding: str, tag: Tag | None = None, *, positives: float = 0.5, negatives: float = 0.0,
    seed: int = 0,
) -> Source:
    """A store with a tag on a share of its images: same images, labels, splits and annotations.

    path: a prepared store. finding: whose label the tag gives away. positives, negatives: share of the images with and
    without the finding that carry the tag, drawn from `seed`; images of unknown label carry none. The manifest gains
    the column `tagged`. Raises AttrinetError for an unknown finding, a share outside [0, 1], or a text too long for the
    image.
    """
    store, tag = Store.open(path), tag or Tag()
    check_room(tag)
    store.select([finding])
    for name, share in (("positives", positives), ("negatives", negatives)):
        if not 0 <= share <= 1:
            raise AttrinetError(f"{name}={share}: want a share between 0 and 1")
    if tagged_with(store) is not None:
        raise AttrinetError(f"{store.path}: already carries a tag; start from the store it was made of")
    tagged = choose_tagged(store, finding, positives, negatives, seed)
    if not tagged.any():
        raise AttrinetError(f"{store.path}: no image would be tagged; raise the share of positives or negatives")
    manifest = store.manifest.assign(
        source=[f"{row}:{int(on)}" for row, on in enumerate(tagged)], tagged=pd.array(tagged, dtype="boolean")
    )
    options = {"store": str(path), "checksum": store.meta["checksum"], "finding": finding, "tag": asdict(tag),
               "positives": positives, "negatives": negatives, "seed": seed,
               **({} if store.names_patients else {"patient": NO_PATIENTS})}
    read = partial(read_tagged, str(store.path / "images.npy"), tag)
    return Source("shortcut", store.findings, manifest, store.annotations, read, store.meta["excluded"], options,
                  intensity="none", file_preprocessing=store.preprocessing, left_out=left_out_of(store))


def left_out_of(store: Store) -> list[tuple[str, str]]:
    """Source.left_out of the store, as it was told."""
    table = pd.read_csv(store.path / "excluded.csv", dtype=str, keep_default_na=False)
    return list(table[["id", "reason"]].itertuples(index=False, name=None))


def choose_tagged(store: Store, finding: str, positives: float, negatives: float, seed: int) -> np.ndarray:
    """(N,) bool: exactly the asked share of the positives and of the negatives of every split, rounded."""
    labels = store.labels[:, store.findings.index(finding)]
    splits = store.manifest["split"].to_numpy()
    tagged = np.zeros(len(store), bool)
    random = generator_for(seed, PURPOSES["chosen"])
    for split in sorted(set(splits)):
        for label, share in ((1, positives), (0, negatives)):
            rows = np.flatnonzero((labels == label) & (splits == split))
            tagged[random.permutation(rows)[: round(share * len(rows))]] = True
    return tagged


def read_tagged(images: str, tag: Tag, source: str) -> np.ndarray:
    """`<row>:<1 if tagged>` → the store's grey image, float32 0 … 255, with or without the tag."""
    row, on = map(int, source.split(":"))
    grey = np.load(images, mmap_mode="r", allow_pickle=False)[row]
    return (tag.drawn(grey, row) if on else grey).astype(np.float32)


def tagged_with(store: Store) -> Tag | None:
    """The tag of a store that `attrinet prepare shortcut` made, None for any other."""
    options: Mapping = store.meta["options"]
    return Tag(**options["tag"]) if store.meta["adapter"] == "shortcut" else None


def tag_rows(store: Store) -> np.ndarray:
    """Row numbers of the images that carry the tag."""
    return np.flatnonzero(store.manifest["tagged"].to_numpy(bool))


def tag_region(store: Store) -> np.ndarray | None:
    """(size, size) bool, the box around a fixed tag, or the frame; None where there is no tag or no fixed place."""
    tag = tagged_with(store)
    if tag is None or not tag.fixed:
        return None
    mask = tag.cover(store.size, 0) > 0
    if tag.kind == "border":
        return mask
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.zeros_like(mask)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box
