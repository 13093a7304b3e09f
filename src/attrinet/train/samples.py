"""Sample maps on the way: a PNG in which one sees early whether the maps make sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attrinet.data.store import Store
from attrinet.nets.attrinet import AttriNet


def save_samples(path: Path, model: AttriNet, store: Store, rows: np.ndarray) -> None:
    """One line an image: x, then M_c(x) of every finding (mid grey is 0, white and black ± the line's largest |M|)."""
    model.eval()
    out = model.explain(store.batch(rows))
    model.train()
    maps = out.attribution.cpu()
    maps = maps / maps.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    lines = [np.hstack([image[0], *line]) for image, line in zip(store.batch(rows).numpy(), maps.numpy(), strict=True)]
    Image.fromarray(((np.vstack(lines) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(path)
