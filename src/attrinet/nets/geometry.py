"""One rule from image size to classifier pooling and critic depth; it gives the paper's values at 320."""

from __future__ import annotations

from dataclasses import dataclass

from attrinet.errors import AttrinetError

GRID = 10  # the paper's classifier sees 320 / 32 = 10 cells a side (§3.3)
MIN_CRITIC_MAP = 7  # pixels a side below which instance norm has too little to normalise
MAX_CRITIC_LEVELS = 5  # Table 10
SMALLEST, LARGEST = 32, 2048


@dataclass(frozen=True)
class Geometry:
    """image_size: pixels a side; pool: γ of eq. 4, pixels; critic_levels: strided convolutions of the critic."""

    image_size: int
    pool: int
    critic_levels: int

    @property
    def grid(self) -> int:
        """Classifier cells a side."""
        return self.image_size // self.pool


def default_pool(image_size: int) -> int:
    """The largest power of two that leaves at least the paper's 10×10 cells: 32 at 320, 8 at 128, 4 at 64."""
    return 1 << max((image_size // GRID).bit_length() - 1, 0)


def critic_map(image_size: int, levels: int) -> int:
    """Side of the critic's last feature map: a stride-1 4×4 convolution, then `levels` 4×4 ones with stride 2."""
    side = image_size - 1
    for _ in range(levels):
        side //= 2
    return side


def default_critic_levels(image_size: int) -> int:
    """As many of Table 10's five strided levels as leave at least 7×7 pixels: 5 at 320 (9×9), 3 at 64 (7×7)."""
    levels = MAX_CRITIC_LEVELS
    while levels > 1 and critic_map(image_size, levels) < MIN_CRITIC_MAP:
        levels -= 1
    return levels


def _fits(image_size: int, pool: int | None) -> bool:
    step = pool or default_pool(image_size)
    # the generator halves twice and doubles twice, the classifier pools whole cells
    return SMALLEST <= image_size <= LARGEST and image_size % 4 == 0 and image_size % step == 0


def geometry(image_size: int, pool: int | None = None, critic_levels: int | None = None) -> Geometry:
    """The sizes of a network for square images of `image_size` pixels; None follows the rule above.

    Raises AttrinetError for a size with no room, naming the nearest that work.
    """
    if pool is not None and not 1 <= pool <= image_size:
        raise AttrinetError(f"pool={pool}: must be between 1 and the image size, {image_size}")
    if not _fits(image_size, pool):
        works = [s for s in range(SMALLEST, LARGEST + 1, 4) if _fits(s, pool)]
        nearest = sorted(sorted(works, key=lambda s: abs(s - image_size))[:2])
        raise AttrinetError(
            f"image_size={image_size}" + (f" with pool={pool}" if pool else "") + " does not work: it must be "
            f"{SMALLEST} to {LARGEST} and a multiple of 4 and of the pooling; "
            f"the nearest sizes that do: {' and '.join(map(str, nearest))}"
        )
    levels = default_critic_levels(image_size) if critic_levels is None else critic_levels
    if levels < 1 or critic_map(image_size, levels) < 2:
        raise AttrinetError(
            f"critic_levels={levels} leaves nothing to normalise at {image_size} pixels; "
            f"use 1 to {default_critic_levels(image_size)}, or leave it out"
        )
    return Geometry(image_size, pool or default_pool(image_size), levels)
