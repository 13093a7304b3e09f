"""How all figures of `attrinet compare` are drawn: pictures in a grid, as vector files that come out the same twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import patheffects, rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attrinet.report.figures import INK, LESION, SIGNED, bare, literal

KNOWN, WRONG, PLAIN = LESION, "#d7191c", "#2166ac"  # known lesion; wrong call, or what to look at; a negative
SIDE = 1.35  # inches a picture
FORMATS = ("svg", "pdf")
METADATA = {"svg": {"Date": None, "Creator": "attrinet"}, "pdf": {"CreationDate": None, "Creator": "attrinet"}}


@dataclass(frozen=True)
class Tile:
    """A picture: grey (H, W) in [-1, 1], colours (H, W, 3), or, with half, signed values in -half … +half.

    outline: (H, W) bool, drawn around in green. box: (H, W) bool, its bounding box drawn in box_color.
    text: in the lower left corner. frame: colour of the border.
    """

    picture: np.ndarray
    half: float | None = None
    outline: np.ndarray | None = None
    box: np.ndarray | None = None
    box_color: str = WRONG
    text: str = ""
    frame: str = ""


@literal
def draw(
    rows: Sequence[Sequence[Tile | None]], names: Sequence[str], titles: Sequence[str], scale: str = "",
    ticks: Sequence[str] = ("", "0", "strongest"), low: float = 0.0,
) -> Figure:
    """names: of the rows, on the left. titles: over the columns. scale: what the colour bar below shows, and its ticks
    at low, in the middle and at 1; without it there is no bar."""
    columns = max(map(len, rows))
    widest = max((len(part) for name in names for part in name.split("\n")), default=0)
    size = (columns * SIDE + 0.3 + 0.075 * widest * 0.35, len(rows) * SIDE + 0.45 + (0.5 if scale else 0))
    fig = Figure(figsize=size, dpi=110, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = fig.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for line, tiles in zip(grid, rows, strict=True):
        for axes, tile in zip(line, tiles, strict=False):
            if tile is not None:
                put(axes, tile)
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=7, color=INK)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=7.5, color=INK)
    if scale:
        bar = fig.colorbar(ScalarMappable(Normalize(-1, 1), SIGNED), ax=grid, location="bottom", shrink=0.5, aspect=40,
                           pad=0.01)
        bar.set_label(scale, fontsize=7, color=INK)
        bar.ax.set_xlim(low, 1)
        bar.set_ticks([low, (low + 1) / 2, 1] if low else [0, 1], labels=list(ticks) if low else list(ticks[1:]))
        bar.ax.tick_params(labelsize=7, length=2)
        bar.outline.set_visible(False)
    return fig


def put(axes, tile: Tile) -> None:
    color = {"cmap": "gray", "vmin": -1, "vmax": 1} if tile.half is None else {
        "cmap": SIGNED, "vmin": -tile.half, "vmax": tile.half}
    axes.imshow(tile.picture, interpolation="nearest", **color)
    if tile.outline is not None and tile.outline.any():
        axes.contour(tile.outline, levels=[0.5], colors=KNOWN, linewidths=0.9)
    if tile.box is not None and tile.box.any():
        y, x = (np.flatnonzero(tile.box.any(axis)) for axis in (1, 0))
        axes.add_patch(Rectangle((x[0] - 1, y[0] - 1), x[-1] - x[0] + 2, y[-1] - y[0] + 2, fill=False,
                                 edgecolor=tile.box_color, linewidth=1.1))
    if tile.text:
        axes.text(0.03, 0.03, tile.text, transform=axes.transAxes, fontsize=6, color="white", va="bottom",
                  path_effects=[patheffects.withStroke(linewidth=1.6, foreground="#000000b0")])
    for spine in axes.spines.values() if tile.frame else ():
        spine.set(visible=True, color=tile.frame, linewidth=2)


def save(fig: Figure, folder: Path, name: str) -> list[str]:
    """name.svg and name.pdf, without dates and with fixed ids: the same figure is the same file."""
    with rc_context({"svg.hashsalt": "attrinet", "pdf.fonttype": 42}):
        for suffix in FORMATS:
            fig.savefig(folder / f"{name}.{suffix}", format=suffix, metadata=METADATA[suffix])
    return [f"{name}.{suffix}" for suffix in FORMATS]
