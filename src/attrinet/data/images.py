"""Image files → grey arrays → the float images every model sees. `prepare` and `read_image` share each step."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import torch
from PIL import Image, ImageChops, ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from torch import Tensor

from attrinet.errors import AttrinetError

PIXEL_LIMIT, SIDE_LIMIT = 100_000_000, 65_535  # a larger image is refused unread: no radiograph has so many pixels
FORMATS = ("PNG", "JPEG", "JPEG2000", "TIFF", "BMP", "GIF", "WEBP", "PPM")  # of Pillow's; some others run programs
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
PNG, COLOUR_OR_ALPHA = b"\x89PNG\r\n\x1a\n", (2, 4, 6)  # first bytes, and colour types that Pillow reads in 8 bits
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
WHITE_IS_ZERO = (262, 0)  # the TIFF tag PhotometricInterpretation and its value
MAY_BE_EMPTY = ("RescaleSlope", "RescaleIntercept", "VOILUTFunction", "PixelPaddingRangeLimit", "HighBit")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's "L"
PERCENTILES = {"paper": (5.0, 95.0), "nih-code": (0.95, 99.05)}  # §4.1.1; the authors' NIH code says 0.95
INTENSITIES = (*PERCENTILES, "minmax", "none")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".jpx", ".tif", ".tiff", ".bmp", ".gif", ".webp",
            ".pbm", ".pgm", ".ppm", ".pnm", ".dcm", ".dicom", ".ima")


def bare_name(path: str | os.PathLike) -> str:
    """File name without the suffix of an image. Of a UID (1.2.840.…) the last part is no suffix."""
    path = Path(path)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """One DICOM file or picture (FORMATS) → float32 (H, W) in the file's own range, larger is brighter.

    The content decides what a file is, not its name. DICOM: unused high bits cleared, rescale, then VOI LUT or window
    (the first of several), palette and colour (to luminance) applied, MONOCHROME1 turned round within the range that
    the file can show; PresentationLUTShape only repeats that and is not read. Pixels of PixelPaddingValue become the
    darkest of the others: they look like the black border of a picture and cannot stretch the range. Other files: EXIF
    rotation applied, transparency over black, colour to luminance, 16 bit kept (of grey without alpha).

    Raises AttrinetError naming the file if it is missing, empty, truncated, no image, no regular file, multi-frame or
    animated, or larger than PIXEL_LIMIT or SIDE_LIMIT.
    """
    path = Path(path)
    dicom = is_dicom(path)
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


def is_dicom(path: Path) -> bool:
    """By its preamble, or where there is none by a first element of group 0002 or 0008."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise AttrinetError(f"{path}: is a {'folder' if path.is_dir() else 'device or pipe'}, not an image file")
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError as error:
        raise AttrinetError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise AttrinetError(f"{path}: the file is empty")
    return head[128:] == b"DICM" or head[:2] in (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")


def _read_dicom(path: Path) -> np.ndarray:
    data = pydicom.dcmread(path, force=True, defer_size=1 << 20)  # large pixel data stay on disk until they are checked
    for name in MAY_BE_EMPTY:  # pydicom would calculate with nothing
        if name in data and data[name].is_empty:
            del data[name]
    if "PixelData" not in data:
        raise AttrinetError(f"{path}: a DICOM file without pixel data, or cut short before their end; get a whole copy")
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        raise AttrinetError(f"{path}: has {data.NumberOfFrames} frames; give single-frame radiographs")
    _check_size(path, int(data.Columns), int(data.Rows))
    photometric, colour = data.get("PhotometricInterpretation"), int(data.get("SamplesPerPixel", 1)) == 3
    if not colour and photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"):
        raise AttrinetError(f"{path}: PhotometricInterpretation is {photometric or 'missing'}, so black and white "
                            "cannot be told apart; set it to MONOCHROME1 or MONOCHROME2")
    if data.get("HighBit", data.BitsStored - 1) != data.BitsStored - 1:
        raise AttrinetError(f"{path}: HighBit {data.HighBit} does not fit BitsStored {data.BitsStored}; correct them")
    pixels = _decode(path, data)
    if colour:
        return pixels.astype(np.float32) @ LUMINANCE
    if photometric == "PALETTE COLOR":
        return apply_color_lut(pixels, data)[..., :3].astype(np.float32) @ LUMINANCE

    display = _display(data)

    def shown(stored: np.ndarray) -> np.ndarray:
        return apply_voi_lut(apply_modality_lut(stored, data), display).astype(np.float32)

    image = shown(pixels)
    if photometric == "MONOCHROME1":
        image = shown(np.array(_ends(data)).astype(pixels.dtype)).sum() - image
    padding = _is_padding(pixels, data)
    if padding.any() and not padding.all():
        image[padding] = image[~padding].min()
    return image


def _ends(data: pydicom.Dataset) -> tuple[int, int]:
    """Lowest and highest stored value that the file can show."""
    lowest = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
    return lowest, lowest + 2**data.BitsStored - 1


def _display(data: pydicom.Dataset) -> pydicom.Dataset:
    """What apply_voi_lut needs to know of a file, told so that pydicom 3 makes no mistake of two.

    With a negative rescale slope it would turn a window's output round, as it takes the ends of the range for its
    lowest and highest value: here the slope is positive and the range the same. And it would count the entries of an
    8-bit table in 8 bits, however many there are.
    """
    names = ("PhotometricInterpretation", "PixelRepresentation", "BitsStored", "VOILUTSequence", "WindowCenter",
             "WindowWidth", "VOILUTFunction", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept")
    display = pydicom.Dataset()
    display.file_meta = data.file_meta
    display.set_original_encoding(*data.original_encoding)
    for name in names:
        if name in data:
            display[name] = copy.deepcopy(data[name])
    slope = display.get("RescaleSlope")
    if slope is not None and slope < 0 and "RescaleIntercept" in display:  # pydicom uses both or none
        both_ends = sum(_ends(data))
        display.RescaleSlope, display.RescaleIntercept = -slope, float(slope) * both_ends + display.RescaleIntercept
    for table in display.get("VOILUTSequence") or ():
        count, first, bits = table.LUTDescriptor
        if bits == 8 and not 0 < count <= 256:
            table.LUTDescriptor = [count, first, 16]
    return display


def _decode(path: Path, data: pydicom.Dataset) -> np.ndarray:
    """Stored values (H, W), or RGB (H, W, 3)."""
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    syntax = data.file_meta.TransferSyntaxUID
    if syntax in pydicom.uid.JPEGTransferSyntaxes + pydicom.uid.JPEGLSTransferSyntaxes \
            and b"\xff\xd9" not in data.PixelData[-64:]:  # decoders would fill the rest with grey and say nothing
        raise AttrinetError(f"{path}: its {syntax.name} data are cut short; get a whole copy")
    if syntax in pydicom.uid.JPEG2000TransferSyntaxes:
        _check_boxes(path, get_frame(data.PixelData, 0, number_of_frames=1))
    try:
        return pixel_array(data)
    except (RuntimeError, NotImplementedError, ImportError) as error:
        if not syntax.is_compressed:
            raise
        raise AttrinetError(f"{path}: {syntax.name} cannot be decoded ({' '.join(str(error).split())[:120]}); "
                            "if plug-ins are missing: pip install 'attrinet[dicom]'") from error


def _check_boxes(path: Path, frame: bytes) -> None:
    """Refuse a JP2 header whose boxes lead nowhere: pydicom 3 would look for their end for ever."""
    if not frame.startswith(b"\x00\x00\x00\x0cjP  "):
        return  # a bare codestream, as DICOM asks for
    offset = 12
    while offset < len(frame) and frame[offset + 4 : offset + 8] != b"jp2c":
        length = int.from_bytes(frame[offset : offset + 4], "big")
        if length < 8:
            raise AttrinetError(f"{path}: its JPEG 2000 header is damaged (a box of {length} bytes); get a whole copy")
        offset += length


def _is_padding(pixels: np.ndarray, data: pydicom.Dataset) -> np.ndarray:
    """Pixels of PixelPaddingValue, or from there to PixelPaddingRangeLimit."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return np.zeros(pixels.shape, bool)
    # files give negative values as unsigned ones too: the bits are what counts
    ends = np.array([value, data.get("PixelPaddingRangeLimit", value)]).astype(pixels.dtype)
    return (pixels >= ends.min()) & (pixels <= ends.max())


def _read_picture(path: Path) -> np.ndarray:
    with open(path, "rb") as file:  # given a path, Pillow 13 would map a turned TIFF with the wrong length of its rows
        head = file.read(26)
        if head.startswith(PNG) and head[24] == 16 and head[25] in COLOUR_OR_ALPHA:
            raise AttrinetError(f"{path}: a PNG of 16 bit with colour or alpha, of which 8 would be lost; save it as "
                                "16-bit grey")
        file.seek(0)
        # The pixel limit is checked from the header, before Pillow decodes anything
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            raise AttrinetError(f"{path}: is neither DICOM nor one of {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:
            raise AttrinetError(f"{path}: has more pixels than the limit of {PIXEL_LIMIT:,}") from error
        with image:
            _check_size(path, *image.size)
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise AttrinetError(f"{path}: has {frames} frames; give single images")
            return _picture_to_grey(ImageOps.exif_transpose(image), image)


def _picture_to_grey(image: Image.Image, file: Image.Image) -> np.ndarray:
    """image: upright. file: as opened, which alone knows the format."""
    if image.mode in DEEP_MODES:
        grey = np.asarray(image).astype(np.float32)
        if WHITE_IS_ZERO in getattr(file, "tag_v2", {}).items():  # Pillow turns only 8 bits round
            if image.mode.startswith("I;16"):
                grey = 65535 - grey
            elif image.mode == "F":
                grey = grey.max() + grey.min() - grey
        if isinstance(file.info.get("transparency"), int):
            grey[grey == file.info["transparency"]] = 0
        return grey
    if image.mode == "CMYK" and file.format == "JPEG" and "adobe" not in file.info:
        image = ImageChops.invert(image)  # Pillow takes every one for Adobe's, whose inks are inverted
    if "A" in image.getbands() or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if image.mode not in ("L", "1"):
        return np.asarray(image.convert("RGB"), np.float32) @ LUMINANCE
    return np.asarray(image.convert("L"), np.float32)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT or max(width, height) > SIDE_LIMIT:
        raise AttrinetError(f"{path}: {width}×{height} pixels, more than the limit of {PIXEL_LIMIT:,} pixels and "
                            f"{SIDE_LIMIT:,} a side")


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) from the file's header alone, after EXIF rotation. Raises AttrinetError naming the file."""
    path = Path(path)
    dicom = is_dicom(path)
    try:
        if dicom:
            data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            return int(data.Columns), int(data.Rows)
        with Image.open(path, formats=FORMATS) as image:
            turned, size = image.getexif().get(0x0112, 1) >= 5, image.size
            if isinstance(image, TiffImageFile):  # whose size Pillow has turned already, or not, by its version
                size = image.tag_v2[TIFF_WIDTH], image.tag_v2[TIFF_HEIGHT]
            return size[::-1] if turned else size
    except Exception as error:
        raise AttrinetError(f"{path}: its size cannot be read ({' '.join(str(error).split())[:120]})") from error


def resize(image: np.ndarray, size: int, keep_aspect: bool = False) -> np.ndarray:
    """(H, W) → float32 (size, size), bilinear with antialiasing (Pillow).

    Pixels are unit squares: pixel i covers [i, i + 1), and the image's edges stay its edges. keep_aspect pads the
    shorter side with the darkest value, the image centred, instead of stretching it as the paper does.
    """
    image = np.ascontiguousarray(image, np.float32)
    height, width = image.shape
    if keep_aspect and height != width:
        side, (top, left), darkest = max(height, width), padding(height, width), image.min()
        # the long axis first, so that the padded square is never made: a strip's would not fit in memory
        image = _resample(image, size if height == side else height, size if width == side else width)
        rest = (0, side - width - left) if height == side else (side - height - top, 0)
        image = np.pad(image, ((top, rest[0]), (left, rest[1])), constant_values=darkest)
    return _resample(image, size, size)


def _resample(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def padding(height: int, width: int) -> tuple[int, int]:
    """Rows above and columns left of an image centred in a square."""
    side = max(height, width)
    return (side - height) // 2, (side - width) // 2


def to_uint8(image: np.ndarray, intensity: str = "paper", of: np.ndarray | None = None) -> np.ndarray:
    """Resized image → uint8, 0 … 255 standing for −1 … 1.

    intensity "paper": 5th to 95th percentile mapped to the full range and clipped (§4.1.1, after a z-score that this
    mapping undoes); "nih-code": 0.95th to 99.05th, as the authors' NIH code has it; "minmax", which is also taken where
    two percentiles are the same; "none": values already are 0 … 255. of: the pixels whose percentiles these are, the
    image's own if left out. An image without contrast becomes mid grey. Raises AttrinetError for other names, and for
    "none" with other values.
    """
    of = image if of is None else of
    if intensity == "none":
        grey = image.round()
        if not (grey.min() >= 0 and grey.max() <= 255):
            raise AttrinetError(f"intensity 'none' is for values of 0 … 255, not {image.min():g} … {image.max():g}")
        return grey.astype(np.uint8)
    if intensity == "minmax":
        low, high = float(of.min()), float(of.max())
    elif intensity in PERCENTILES:
        low, high = (float(v) for v in np.percentile(of, PERCENTILES[intensity]))
    else:
        raise AttrinetError(f"intensity={intensity!r}: choose one of {', '.join(INTENSITIES)}")
    if not high > low:
        low, high = float(of.min()), float(of.max())
    if not high > low:
        return np.full(image.shape, 128, np.uint8)
    return ((image.astype(np.float64) - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def fit(image: np.ndarray, size: int, intensity: str = "paper", keep_aspect: bool = False) -> np.ndarray:
    """(H, W) of any range → uint8 (size, size): resize, then to_uint8 by the pixels that are not padding.

    Padding would make the 5th percentile that of the shape: a narrow image would come out paler than a square one.
    """
    out, of = resize(image, size, keep_aspect), None
    if keep_aspect:
        scale = size / max(image.shape)
        first = [math.ceil(pad * scale) for pad in padding(*image.shape)]
        last = [int((pad + n) * scale) for pad, n in zip(padding(*image.shape), image.shape, strict=True)]
        rows, columns = (slice(min(a, size - 1), max(a + 1, b)) for a, b in zip(first, last, strict=True))
        of = out[rows, columns]
    return to_uint8(out, intensity, of)


def to_tensor(grey: np.ndarray) -> Tensor:
    """uint8 of any shape → float32 in [-1, 1]: v / 127.5 − 1."""
    out = np.empty(grey.shape, np.float32)  # NumPy's: it asks the kernel for large pages, which halves the time
    for values, block in zip(_blocks(np.ascontiguousarray(grey)), _blocks(out), strict=True):
        np.divide(values, np.float32(127.5), out=block, dtype=np.float32)
        block -= 1
    return torch.from_numpy(out)


def _blocks(array: np.ndarray, step: int = 1 << 18) -> Iterator[np.ndarray]:
    """Pieces that stay in the cache from one operation to the next."""
    flat = array.reshape(-1)
    return (flat[start : start + step] for start in range(0, flat.size, step))


def on_device(grey: np.ndarray, device: torch.device | str) -> Tensor:
    """to_tensor's numbers, to the last bit, on any device; what travels is uint8, a quarter of the bytes."""
    if torch.device(device).type == "cpu":
        return to_tensor(grey)
    return look_up(upload(grey, device))


def upload(values: np.ndarray, device: torch.device | str) -> Tensor:
    """The same numbers on `device`; a GPU is not waited for."""
    tensor = torch.from_numpy(values)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def look_up(grey: Tensor) -> Tensor:
    """uint8 tensor → to_tensor's numbers where it lies. A table, as a GPU's division may round otherwise."""
    return levels(grey.device)[grey.int()]


@cache
def levels(device: torch.device) -> Tensor:
    """(256,) to_tensor of every grey level."""
    return to_tensor(np.arange(256, dtype=np.uint8)).to(device)


def read_image(
    path: str | os.PathLike, size: int | None = None, intensity: str = "paper", keep_aspect: bool = False
) -> Tensor:
    """One image file → float32 (1, 1, H, W) in [-1, 1], the same numbers that a prepared store holds.

    size: pixels a side, or None for the file's own. intensity, keep_aspect: see to_uint8 and resize.
    Raises AttrinetError naming the file.
    """
    image = read_grey(path)
    try:
        grey = to_uint8(image, intensity) if size is None else fit(image, size, intensity, keep_aspect)
    except AttrinetError as error:
        raise AttrinetError(f"{path}: {error}") from error
    return to_tensor(grey)[None, None]
