"""The guidance masks of a run as files: what was demanded of the maps can be looked at (Fig. 6, 14) and used again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from attrinet.data.lettering import fitting
from attrinet.data.store import Store
from attrinet.files import write_atomically
from attrinet.guidance import Guidance
from attrinet.train.checkpoint import RESUME

PANEL, LINE, MARGIN = 256, 15, 6  # pixels: a panel's side, a line of text under it, the room beside that
LETTERS = 12  # pixels
AVERAGED = 200  # positive images behind a mask
INSIDE = (63, 191, 95)


def save_masks(folder: Path, guidance: Guidance, annotated: np.ndarray, store: Store, train: np.ndarray) -> None:
    """Write guidance/: masks.npz (finding → (H, W) float32 in [0, 1]), images.csv (the annotated images that were
    used, one row an image and finding) and masks.png.

    annotated: (N, C) bool, as build_guidance returns it. train: row numbers of the training images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_name = dict(zip(store.findings, guidance.class_masks, strict=True))
    write_atomically(folder / "masks.npz", lambda p: np.savez_compressed(p, **by_name), RESUME)
    rows, findings = np.nonzero(annotated)
    table = pd.DataFrame({"finding": [store.findings[c] for c in findings], "id": store.ids[rows]})
    table = table.sort_values(["finding", "id"])
    write_atomically(folder / "images.csv", lambda p: table.to_csv(p, index=False), RESUME)
    picture = masks_picture(guidance, annotated, store, train)
    write_atomically(folder / "masks.png", lambda p: picture.save(p), RESUME)


def masks_picture(guidance: Guidance, annotated: np.ndarray, store: Store, train: np.ndarray) -> Image.Image:
    """A panel a finding: the mean of its positive training images, green where evidence may lie."""
    picture = Image.new("RGB", (PANEL * len(store.findings), PANEL + 3 * LINE + MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    for c, name in enumerate(store.findings):
        positives = train[store.labels[train, c] == 1][:AVERAGED]
        mean = store.images[positives].mean(0) if len(positives) else np.zeros((store.size,) * 2)
        tint = guidance.class_masks[c][..., None] * 0.5
        panel = (mean[..., None] * (1 - tint) + np.array(INSIDE) * tint).round().astype(np.uint8)
        picture.paste(Image.fromarray(panel).resize((PANEL, PANEL), Image.Resampling.NEAREST), (c * PANEL, 0))
        said = (name, f"{guidance.mode}, {annotated[:, c].sum()} annotated images",
                f"{guidance.class_masks[c].mean():.0%} of the area")
        for line, text in enumerate(said):
            at = c * PANEL + MARGIN, PANEL + 2 + line * LINE
            draw.text(at, text, "dimgray" if line else "black", fitting(text, LETTERS, PANEL - 2 * MARGIN))
    return picture
