"""Image files → grey arrays → the float images every model sees. `prepare` and `read_image` share each step."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import torch
from PIL import Image, ImageOps
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space
from torch import Tensor

from attrinet.errors import AttrinetError

PIXEL_LIMIT = 100_000_000  # a larger image is refused unread: no radiograph has so many pixels
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's "L"
PERCENTILES = {"paper": (5.0, 95.0), "nih-code": (0.95, 99.05)}  # §4.1.1; the authors' NIH code says 0.95
INTENSITIES = (*PERCENTILES, "minmax", "none")


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """One PNG, JPEG, TIFF, BMP or DICOM file → float32 (H, W) in the file's own range, larger is brighter.

    The content decides what a file is, not its name. DICOM: rescale, VOI LUT or window, palette and colour (to
    luminance) applied, MONOCHROME1 inverted. Other files: EXIF rotation applied, transparency over black, colour
    to luminance, 16 bit kept. Raises AttrinetError naming the file if it is missing, empty, truncated, no image,
    multi-frame or larger than PIXEL_LIMIT.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except IsADirectoryError as error:
        raise AttrinetError(f"{path}: is a folder, not an image file") from error
    except OSError as error:
        raise AttrinetError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise AttrinetError(f"{path}: the file is empty")
    dicom = head[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _read_dicom(path) if dicom else _read_picture(path)
    except AttrinetError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AttrinetError(f"{path}: not a readable image ({reason})") from error
    if image.ndim != 2 or image.size == 0:
        raise AttrinetError(f"{path}: not a single grey or colour image (decoded to shape {image.shape})")
    if not np.isfinite(image).all():
        raise AttrinetError(f"{path}: has NaN or infinite pixel values")
    return np.ascontiguousarray(image, np.float32)


def _read_dicom(path: Path) -> np.ndarray:
    data = pydicom.dcmread(path, force=True)
    if "PixelData" not in data:
        raise AttrinetError(f"{path}: a DICOM file without pixel data, or not DICOM at all")
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        raise AttrinetError(f"{path}: has {data.NumberOfFrames} frames; give single-frame radiographs")
    _check_size(path, int(data.Columns), int(data.Rows))
    if "TransferSyntaxUID" not in data.file_meta:
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    try:
        pixels = data.pixel_array
    except (RuntimeError, NotImplementedError, ImportError) as error:
        if data.file_meta.TransferSyntaxUID.is_compressed:
            reason = " ".join(str(error).split())[:120]
            raise AttrinetError(
                f"{path}: {data.file_meta.TransferSyntaxUID.name} cannot be decoded ({reason}); "
                "if plug-ins are missing: pip install 'attrinet[dicom]'"
            ) from error
        raise
    photometric = str(data.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        return apply_color_lut(pixels, data).astype(np.float32) @ LUMINANCE
    if pixels.ndim == 3:
        if photometric.startswith("YBR"):
            pixels = convert_color_space(pixels, photometric, "RGB")
        return pixels.astype(np.float32) @ LUMINANCE
    image = apply_voi_lut(apply_modality_lut(pixels, data), data).astype(np.float32)
    return image.max() + image.min() - image if photometric == "MONOCHROME1" else image


def _read_picture(path: Path) -> np.ndarray:
    # The pixel limit is checked from the header, before Pillow decodes anything
    with Image.open(path) as image:
        _check_size(path, *image.size)
        if getattr(image, "n_frames", 1) > 1:
            raise AttrinetError(f"{path}: has {image.n_frames} frames; give single images")
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            return np.asarray(image).astype(np.float32)
        if "A" in image.getbands() or "transparency" in image.info:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image.convert("RGBA"))
        if image.mode not in ("L", "1"):
            return np.asarray(image.convert("RGB"), np.float32) @ LUMINANCE
        return np.asarray(image.convert("L"), np.float32)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT:
        raise AttrinetError(f"{path}: {width}×{height} pixels, more than the limit of {PIXEL_LIMIT:,}")


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) from the file's header alone, after EXIF rotation. Raises AttrinetError naming the file."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            dicom = file.read(132)[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")
        if dicom:
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            return int(data.Columns), int(data.Rows)
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return image.size[::-1] if turned else image.size
    except Exception as error:
        raise AttrinetError(f"{path}: its size cannot be read ({' '.join(str(error).split())[:120]})") from error


def resize(image: np.ndarray, size: int, keep_aspect: bool = False) -> np.ndarray:
    """(H, W) → float32 (size, size), bilinear with antialiasing (Pillow).

    Pixels are unit squares: pixel i covers [i, i + 1), and the image's edges stay its edges. keep_aspect pads the
    shorter side with the darkest value, the image centred, instead of stretching it as the paper does.
    """
    image = np.ascontiguousarray(image, np.float32)
    if keep_aspect and image.shape[0] != image.shape[1]:
        side, (top, left) = max(image.shape), padding(*image.shape)
        square = np.full((side, side), image.min(), np.float32)
        square[top : top + image.shape[0], left : left + image.shape[1]] = image
        image = square
    if image.shape == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def padding(height: int, width: int) -> tuple[int, int]:
    """Rows above and columns left of an image centred in a square."""
    side = max(height, width)
    return (side - height) // 2, (side - width) // 2


def to_uint8(image: np.ndarray, intensity: str = "paper") -> np.ndarray:
    """Resized image → uint8, 0 … 255 standing for −1 … 1.

    intensity "paper": 5th to 95th percentile mapped to the full range and clipped (§4.1.1, after a z-score that this
    mapping undoes); "nih-code": 0.95th to 99.05th, as the authors' NIH code has it; "minmax"; "none": values already
    are 0 … 255. An image without contrast becomes mid grey. Raises AttrinetError for other names.
    """
    if intensity == "none":
        return image.round().clip(0, 255).astype(np.uint8)
    if intensity == "minmax":
        low, high = float(image.min()), float(image.max())
    elif intensity in PERCENTILES:
        low, high = (float(v) for v in np.percentile(image, PERCENTILES[intensity]))
    else:
        raise AttrinetError(f"intensity={intensity!r}: choose one of {', '.join(INTENSITIES)}")
    if not high > low:
        return np.full(image.shape, 128, np.uint8)
    return ((image.astype(np.float64) - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def to_tensor(grey: np.ndarray) -> Tensor:
    """uint8 of any shape → float32 in [-1, 1]: v / 127.5 − 1."""
    return torch.from_numpy(grey).float().div_(127.5).sub_(1)


def read_image(
    path: str | os.PathLike, size: int | None = None, intensity: str = "paper", keep_aspect: bool = False
) -> Tensor:
    """One image file → float32 (1, 1, H, W) in [-1, 1], the same numbers that a prepared store holds.

    size: pixels a side, or None for the file's own. intensity, keep_aspect: see to_uint8 and resize.
    Raises AttrinetError naming the file.
    """
    image = read_grey(path)
    if size is not None:
        image = resize(image, size, keep_aspect)
    return to_tensor(to_uint8(image, intensity))[None, None]
