"""What a user may hand to a model as images and findings, and clear words for what not."""

from __future__ import annotations

import difflib
import operator
import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from attrinet.errors import AttrinetError

Images = Tensor | np.ndarray | str | os.PathLike | list | tuple
"""What explain() takes: pixels, the path of a file, or several of these."""
TOLERANCE = 1e-3  # a float image may overshoot [-1, 1] by interpolation


def finding_names(findings: Sequence[str]) -> tuple[str, ...]:
    """The names a model is made with. Raises AttrinetError for repeated, empty or missing ones."""
    names = tuple(findings)
    text = all(isinstance(name, str) and name for name in names)
    if isinstance(findings, str) or not names or len(set(names)) != len(names) or not text:
        raise AttrinetError(f"findings={findings!r}: give one or more different names")
    return names


def finding_index(findings: tuple[str, ...], finding: int | str) -> int:
    """Index of a finding given by name or index; AttrinetError names the nearest for an unknown name."""
    if isinstance(finding, str):
        if finding in findings:
            return findings.index(finding)
        near = [name for name in findings if name.lower() == finding.lower()] \
            or difflib.get_close_matches(finding, findings, 1, cutoff=0)
        raise AttrinetError(f"unknown finding {finding!r}; did you mean {near[0]!r}? There are {', '.join(findings)}")
    try:
        index = operator.index(finding)
    except TypeError:
        index = -1
    if isinstance(finding, bool) or not 0 <= index < len(findings):
        raise AttrinetError(f"finding {finding!r}: want a name, or an index below {len(findings)}, of "
                            f"{', '.join(findings)}")
    return index


def as_images(images: Images, size: int, reader: Callable[[str], Tensor] | None = None) -> Tensor:
    """Tensor, array, path, or a list of these → float32 (B, 1, size, size) in [-1, 1].

    uint8 is converted by v / 127.5 − 1; float must lie in [-1, 1]. Paths go through `reader`.
    Raises AttrinetError for wrong type, shape, channels, size, dtype or range; warns of an image of one grey level.
    """
    named = ""
    if isinstance(images, (list, tuple)):
        if not images:
            raise AttrinetError("no images: the list is empty")
        return torch.cat([as_images(image, size, reader) for image in images])
    if isinstance(images, (str, os.PathLike)):
        if reader is None:
            raise AttrinetError(
                f"{os.fspath(images)}: this model does not know how its images were prepared, as it was not loaded "
                f"by attrinet.load; pass attrinet.read_image(path, size={size}) instead of the path"
            )
        named = f"{os.fspath(images)}: "
        images = reader(os.fspath(images))
    if isinstance(images, np.ndarray):
        if images.dtype.kind not in "uifb":
            raise AttrinetError(f"an array of dtype {images.dtype} is no image; use float in [-1, 1] or uint8")
        if images.dtype == np.uint16:
            raise _wrong_dtype("uint16")
        native = np.float64 if images.dtype == np.longdouble else images.dtype.newbyteorder("=")
        images = torch.from_numpy(np.array(images, native))  # a copy: what is read-only must not become writable
    if not isinstance(images, Tensor):
        raise AttrinetError(f"{type(images).__name__} is no image; use a path, a NumPy array or a tensor")
    checked = _checked_values(_checked_shape(images, size, reader is not None))
    if (checked.amax((1, 2, 3)) == checked.amin((1, 2, 3))).any():
        warnings.warn(f"{named}an image of one grey level throughout: nothing can be predicted from it", stacklevel=3)
    return checked


def _checked_shape(images: Tensor, size: int, reads: bool) -> Tensor:
    shape = "×".join(map(str, images.shape))
    if images.ndim == 2:
        images = images[None, None]
    elif images.ndim == 3 and images.shape[0] == 1:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 1:
        colour = images.ndim in (3, 4) and (images.shape[-1] in (3, 4) or images.shape[-3] in (3, 4))
        hint = "convert colour to grey first" if colour else "mind the axes"
        raise AttrinetError(f"image of shape {shape}: want (H, W), (1, H, W) or (B, 1, H, W); {hint}")
    if len(images) == 0:
        raise AttrinetError("no images: the batch is empty")
    if images.shape[2:] != (size, size):
        raise AttrinetError(
            f"image of {images.shape[3]}×{images.shape[2]} pixels, but this model wants {size}×{size}: "
            + ("pass the path of the file itself, which is then read as the training images were" if reads
               else f"read it with attrinet.read_image(path, size={size})")
        )
    return images


def _checked_values(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images.float() / 127.5 - 1
    if not images.dtype.is_floating_point:
        raise _wrong_dtype(str(images.dtype).removeprefix("torch."))
    images = images.float()
    if not torch.isfinite(images).all():
        raise AttrinetError("the image has NaN or infinite values")
    low, high = images.min().item(), images.max().item()
    if low < -1 - TOLERANCE or high > 1 + TOLERANCE:
        raise AttrinetError(
            f"image values from {low:.4g} to {high:.4g}: float images are in [-1, 1], 0 is mid grey; "
            "use attrinet.read_image, or pass uint8 for 0 to 255"
        )
    if low >= 0 and high > 0.5 and high > low:
        warnings.warn(
            f"image values from {low:.4g} to {high:.4g}: images are in [-1, 1]; is yours in [0, 1]? Then pass 2·x − 1",
            stacklevel=4,
        )
    return images


def _wrong_dtype(dtype: str) -> AttrinetError:
    return AttrinetError(
        f"image of dtype {dtype}: its grey scale is unknown; save it and use attrinet.read_image, "
        "or pass float in [-1, 1] or uint8"
    )
