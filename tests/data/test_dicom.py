"""A DICOM radiograph shows what its attributes say it shows, whatever its coding; anything else is refused by name."""

import struct
import tracemalloc

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder

from attrinet.data import images
from attrinet.data.images import LUMINANCE, image_size, read_grey, read_image, to_tensor, to_uint8
from attrinet.errors import AttrinetError

RAMP = np.linspace(0, 1, 24 * 20).reshape(24, 20)
TWELVE = (RAMP * 4095).astype(np.uint16)


def dicom(path, pixels, photometric="MONOCHROME2", bits=12, **tags):
    """A minimal single-frame radiograph."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = photometric
    data.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return data


def shown(path, pixels, **tags):
    """What read_grey makes of such a file."""
    dicom(path, pixels, **tags)
    return read_grey(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.dcm"


# ---- grey values


@pytest.mark.parametrize("bits,dtype", [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_any_depth_keeps_its_values(path, bits, dtype):
    pixels = (RAMP * (2**bits - 1)).astype(dtype)
    np.testing.assert_array_equal(shown(path, pixels, bits=bits), pixels.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5)])
def test_odd_sizes_are_read(path, shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(shown(path, pixels, bits=8), pixels)
    assert image_size(path) == shape[::-1] and read_image(path, size=16).shape == (1, 1, 16, 16)


def test_signed_values_and_rescale(path):
    pixels = (RAMP * 1000 - 500).astype(np.int16)
    image = shown(path, pixels, bits=16, RescaleSlope=2, RescaleIntercept=-100)
    np.testing.assert_array_equal(image, pixels * 2 - 100)


@pytest.mark.parametrize("tags", [
    {"RescaleSlope": None, "RescaleIntercept": None}, {"RescaleSlope": None, "RescaleIntercept": 5},
    {"RescaleSlope": -2, "RescaleIntercept": None}, {"HighBit": None},
    {"PixelPaddingValue": 1, "PixelPaddingRangeLimit": None},
])
def test_an_empty_attribute_says_as_little_as_one_that_is_left_out(path, tags):
    whole = {name: value for name, value in tags.items() if value is not None}
    image = shown(path, TWELVE, **tags)
    np.testing.assert_array_equal(image, TWELVE)
    np.testing.assert_array_equal(image, shown(path, TWELVE, **whole))


def test_an_empty_function_of_a_window_is_the_linear_one(path):
    window = {"WindowCenter": 2000, "WindowWidth": 900}
    np.testing.assert_array_equal(shown(path, TWELVE, **window, VOILUTFunction=None), shown(path, TWELVE, **window))


def test_what_stands_in_unused_high_bits_does_not_show(path):
    np.testing.assert_array_equal(shown(path, TWELVE | 0xA000), TWELVE)
    negative = TWELVE.astype(np.int16) - 2048
    np.testing.assert_array_equal(shown(path, (negative & 0x0FFF | 0x5000).astype(np.int16)), negative)


def test_monochrome1_is_turned_round_within_the_range_the_file_can_show(path):
    np.testing.assert_array_equal(shown(path, TWELVE // 2, photometric="MONOCHROME1"), 4095 - TWELVE // 2)
    signed = TWELVE.astype(np.int16) // 2 - 1000
    np.testing.assert_array_equal(shown(path, signed, photometric="MONOCHROME1"), -1 - signed)
    rescaled = shown(path, TWELVE // 2, photometric="MONOCHROME1", RescaleSlope=3, RescaleIntercept=10)
    np.testing.assert_array_equal(rescaled, 3 * (4095 - TWELVE // 2) + 10)


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_presentation_lut_shape_turns_nothing_round_a_second_time(path, photometric, shape):
    image = shown(path, TWELVE, photometric=photometric, PresentationLUTShape=shape)
    np.testing.assert_array_equal(image, TWELVE if photometric == "MONOCHROME2" else 4095 - TWELVE)


def linear_window(x, center, width, high):
    """PS3.3 C.11.2.1.2.1, for output from 0 to `high`."""
    y = ((x - (center - 0.5)) / (width - 1) + 0.5) * high
    return np.where(x <= center - 0.5 - (width - 1) / 2, 0, np.where(x > center - 0.5 + (width - 1) / 2, high, y))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_clips_and_the_first_of_several_counts(path, photometric):
    image = shown(path, TWELVE, photometric=photometric, WindowCenter=[2048, 100], WindowWidth=[1000, 20])
    want = linear_window(TWELVE.astype(float), 2048, 1000, 4095)
    np.testing.assert_allclose(image, want if photometric == "MONOCHROME2" else 4095 - want, atol=1e-2)


def test_an_impossible_window_is_refused_by_name(path):
    dicom(path, TWELVE, WindowCenter=100, WindowWidth=0)
    with pytest.raises(AttrinetError, match=r"a\.dcm.*Window Width"):
        read_grey(path)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_lut_goes_before_a_window_and_before_the_inversion(path, photometric):
    item, table = Dataset(), np.arange(0, 4096 * 8, 8).astype("<u2")
    item.LUTDescriptor, item.LUTData = [4096, 0, 16], table.tobytes()
    image = shown(path, TWELVE, photometric=photometric, VOILUTSequence=[item], WindowCenter=9, WindowWidth=9)
    want = table[TWELVE].astype(float)
    np.testing.assert_array_equal(image, want if photometric == "MONOCHROME2" else 4095 * 8 - want)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("slope,intercept,signed", [(-1, 4095, False), (-2, 100, False), (-1, 0, True)])
def test_a_negative_slope_turns_values_round_once_with_a_window_as_without(path, photometric, slope, intercept, signed):
    pixels = TWELVE.astype(np.int16) - 2048 if signed else TWELVE
    values = pixels.astype(float) * slope + intercept
    low, high = sorted(np.array([-2048, 2047] if signed else [0, 4095]) * slope + intercept)
    want = {"MONOCHROME2": values, "MONOCHROME1": low + high - values}[photometric]
    tags = {"photometric": photometric, "RescaleSlope": slope, "RescaleIntercept": intercept}
    np.testing.assert_array_equal(shown(path, pixels, **tags), want)
    center, width = (low + high) / 2 + 300, (high - low) / 2
    image = shown(path, pixels, **tags, WindowCenter=center, WindowWidth=width)
    want = linear_window(values, center, width, 1) * (high - low) + low
    np.testing.assert_allclose(image, want if photometric == "MONOCHROME2" else low + high - want, atol=1e-2)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_lut_of_8_bits_may_have_many_entries(path, photometric):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [4096, 0, 8], (np.arange(4096) // 16).astype("<u2").tobytes()
    image = shown(path, TWELVE, photometric=photometric, VOILUTSequence=[item])
    np.testing.assert_array_equal(image, TWELVE // 16 if photometric == "MONOCHROME2" else 255 - TWELVE // 16)


@pytest.mark.parametrize("photometric,pad", [("MONOCHROME2", 0), ("MONOCHROME2", 4095), ("MONOCHROME1", 0)])
def test_padding_is_as_dark_as_the_darkest_of_the_rest_and_sets_no_range(path, photometric, pad):
    inner = (TWELVE // 4 + 1000).astype(np.uint16)
    pixels = inner.copy()
    pixels[:, :4] = pad
    image = shown(path, pixels, photometric=photometric, PixelPaddingValue=pad)
    want = (inner if photometric == "MONOCHROME2" else 4095 - inner)[:, 4:]
    np.testing.assert_array_equal(image[:, 4:], want)
    assert (image[:, :4] == want.min()).all()


def test_padding_may_be_a_range_and_a_negative_number_written_as_unsigned(path):
    pixels = (TWELVE // 4).astype(np.int16)
    pixels[0], pixels[1] = -2000, -1990
    image = shown(path, pixels, bits=16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert (image[:2] == pixels[2:].min()).all()
    data = pydicom.dcmread(path)
    data[0x00280120] = pydicom.DataElement(0x00280120, "US", 65536 - 2000)
    del data.PixelPaddingRangeLimit
    data.save_as(path)
    assert (read_grey(path)[0] == -1990).all() and (read_grey(path)[1] == -1990).all()


# ---- colour


def bars():
    colors = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.repeat(np.repeat(colors, 2, 0), 2, 1)


def test_colour_becomes_luminance_in_either_planar_configuration(path):
    colors = bars()
    np.testing.assert_allclose(shown(path, colors, photometric="RGB", bits=8), colors @ LUMINANCE, rtol=1e-5)
    planes = np.ascontiguousarray(colors.transpose(2, 0, 1))
    data = dicom(path, colors, photometric="RGB", bits=8)
    data.PlanarConfiguration, data.PixelData = 1, planes.tobytes()
    data.save_as(path)
    np.testing.assert_allclose(read_grey(path), colors @ LUMINANCE, rtol=1e-5)


def test_the_luminance_of_ybr_is_its_first_channel(path):
    """Where the other two are at rest; converting twice, as is easily done, would show."""
    colors = bars()
    colors[..., 1:] = 128
    np.testing.assert_allclose(shown(path, colors, photometric="YBR_FULL", bits=8), colors[..., 0], atol=1)
    for name in ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"):
        coloured = read_grey(get_testdata_file(name, download=False))
        plain = read_grey(get_testdata_file("SC_rgb_dcmtk_+eb+cr.dcm", download=False))  # the same bars as RGB
        assert np.abs(coloured[2:-2, 2:-2] - plain[2:-2, 2:-2]).max() < 8, name


def test_a_jpeg_2000_colour_transform_is_undone_by_its_decoder_alone():
    path = get_testdata_file("examples_jpeg2k.dcm", download=False)
    plain = read_grey(get_testdata_file("examples_rgb_color.dcm", download=False))  # the same picture at half size
    halved = read_grey(path).reshape(240, 2, 320, 2).mean((1, 3))
    assert np.abs(halved - plain).mean() < 2


def test_a_palette_becomes_luminance(path):
    ramps = {"Red": np.arange(256) * 257, "Green": np.arange(256)[::-1] * 257, "Blue": np.arange(256) ** 2}
    palette = {f"{c}PaletteColorLookupTable{part}": v for c, ramp in ramps.items()
               for part, v in (("Descriptor", [256, 0, 16]), ("Data", ramp.astype("<u2").tobytes()))}
    indices = (RAMP * 255).astype(np.uint8)
    image = shown(path, indices, photometric="PALETTE COLOR", bits=8, **palette)
    want = sum(weight * ramp[indices] for weight, ramp in zip((0.299, 0.587, 0.114), ramps.values(), strict=True))
    np.testing.assert_allclose(image, want, rtol=1e-4)


# ---- compressed transfer syntaxes


def jpeg_lossless(pixels, bits):
    """Process 14, selection value 1: each pixel as its difference from the left one, Huffman codes of five bits."""
    before = np.roll(pixels, 1, axis=1).astype(int)
    before[1:, 0], before[0, 0] = pixels[:-1, 0], 1 << (bits - 1)
    stream = ""
    for difference in (pixels.astype(int) - before).astype(np.int16).ravel().tolist():
        length = abs(difference).bit_length()
        stream += f"{length:05b}" + (f"{difference + (difference < 0) * (2**length - 1):0{length}b}" if length else "")
    stream += "1" * (-len(stream) % 8)

    def segment(marker, body):
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    return b"".join([
        b"\xff\xd8", segment(0xC3, struct.pack(">BHHB", bits, *pixels.shape, 1) + b"\1\x11\0"),
        segment(0xC4, b"\0" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))), segment(0xDA, b"\1\1\0\1\0\0"),
        int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0"), b"\xff\xd9",
    ])


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLosslessSV1])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_coding_changes_no_value(path, syntax, bits):
    pixels = np.random.default_rng(0).integers(0, 2**bits, (67, 64)).astype(np.uint8 if bits == 8 else np.uint16)
    data = dicom(path, pixels, bits=bits)
    if syntax == uid.JPEGLosslessSV1:
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = encapsulate([jpeg_lossless(pixels, bits)])
    else:
        data.compress(syntax)
    data.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(read_grey(path), pixels)


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless", "MR_small_jp2klossless", "MR_small_RLE",
                                  "MR_small_bigendian", "MR_small_implicit"])
def test_the_same_picture_in_every_coding_is_the_same(name):
    plain = read_grey(get_testdata_file("MR_small.dcm", download=False))
    np.testing.assert_array_equal(read_grey(get_testdata_file(f"{name}.dcm", download=False)), plain)


def test_lossy_coding_stays_near(path):
    pixels = (RAMP * 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(pixels).save(path.with_suffix(".jpg"), quality=95)
    data = dicom(path, pixels, bits=8)
    data.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    data.PixelData = encapsulate([path.with_suffix(".jpg").read_bytes()])
    data.save_as(path, enforce_file_format=True)
    np.testing.assert_allclose(read_grey(path), pixels, atol=8)
    near = read_grey(get_testdata_file("JPEG2000.dcm", download=False))
    twelve = read_grey(get_testdata_file("JPGExtended.dcm", download=False))  # the same bone scan in 12-bit JPEG
    assert np.corrcoef(near.ravel(), twelve.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk", "SC_rgb_jpeg_gdcm", "MR_small_jpeg_ls_lossless",
                                  "MR_small_jp2klossless", "MR_small_RLE"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_coded_image_cut_short_is_refused_not_filled_up(path, name, share):
    data = pydicom.dcmread(get_testdata_file(f"{name}.dcm", download=False))
    frame = next(generate_frames(data.PixelData, number_of_frames=1))
    data.PixelData = encapsulate([frame[: int(len(frame) * share)]])
    data.save_as(path)
    with pytest.raises(AttrinetError, match=r"a\.dcm.*(cut short|cannot be decoded)"):
        read_grey(path)
    whole = open(get_testdata_file(f"{name}.dcm", download=False), "rb").read()
    path.write_bytes(whole[: whole.index(frame[:64]) + int(len(frame) * share)])
    with pytest.raises(AttrinetError, match=r"a\.dcm.*cut short"):
        read_grey(path)


# ---- what is no single radiograph


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("name", ["IM0001", "a.png"])
def test_a_file_is_dicom_by_its_content_with_or_without_preamble(tmp_path, name, preamble):
    dicom(tmp_path / name, TWELVE)
    if not preamble:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[132:])
    np.testing.assert_array_equal(read_grey(tmp_path / name), TWELVE)
    assert image_size(tmp_path / name) == (20, 24)


def test_a_file_without_meta_information_is_read(tmp_path):
    data = dicom(tmp_path / "a.dcm", TWELVE, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    for implicit in (False, True):
        plain = Dataset()
        plain.update(data)
        plain.save_as(tmp_path / "b.dcm", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert (tmp_path / "b.dcm").read_bytes()[:2] == b"\x08\0"
        np.testing.assert_array_equal(read_grey(tmp_path / "b.dcm"), TWELVE)


def test_a_picture_called_dcm_is_read_as_what_it_is(path):
    Image.fromarray(TWELVE).save(path, "PNG")
    np.testing.assert_array_equal(read_grey(path), TWELVE)


@pytest.mark.parametrize("tags,reason", [
    ({"NumberOfFrames": 3}, "has 3 frames"),
    ({"PhotometricInterpretation": None}, "PhotometricInterpretation is missing"),
    ({"PhotometricInterpretation": "HSV"}, "PhotometricInterpretation is HSV"),
    ({"HighBit": 15}, "HighBit 15"),
    ({"Rows": 25}, "less than expected"),
    ({"Rows": 60_000, "Columns": 60_000}, "more than the limit"),
    ({"PixelData": None}, "without pixel data"),
])
def test_what_cannot_be_shown_rightly_is_refused_by_name(path, tags, reason):
    data = dicom(path, TWELVE)
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path)
    with pytest.raises(AttrinetError, match=rf"a\.dcm.*{reason}"):
        read_grey(path)


def test_too_many_pixels_are_refused_before_they_are_read_or_decoded(path, monkeypatch):
    """A sparse file that holds 4 GB: reading it would take memory, decoding it more."""
    dicom(path, TWELVE, Rows=60_000, Columns=60_000)
    value = path.read_bytes().index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    with open(path, "r+b") as file:
        file.seek(value - 4)
        file.write(struct.pack("<I", 0xFFFFFFF0))
        file.truncate(value + 0xFFFFFFF0)
    monkeypatch.setattr(images, "pixel_array", lambda data: pytest.fail("decoded"))
    tracemalloc.start()
    with pytest.raises(AttrinetError, match="limit"):
        read_grey(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    path.unlink()
    assert peak < 10_000_000


@pytest.mark.parametrize("syntax", [
    *uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K,
    uid.HTJ2KLossless, uid.RLELossless,
], ids=lambda syntax: syntax.keyword)
def test_the_plug_ins_of_the_dicom_extra_decode(syntax):
    assert get_decoder(syntax).is_available


def test_a_dicom_file_gives_what_its_picture_gives(path):
    dicom(path, TWELVE)
    Image.fromarray(TWELVE).save(path.with_suffix(".png"))
    assert (read_image(path, size=32) == read_image(path.with_suffix(".png"), size=32)).all()
    assert (read_image(path) == to_tensor(to_uint8(TWELVE.astype(np.float32)))).all()


@pytest.mark.parametrize("length", [0, 7])
def test_a_jpeg_2000_header_whose_boxes_lead_nowhere_is_refused_and_not_followed_for_ever(path, length):
    data = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm", download=False))
    stream = next(generate_frames(data.PixelData, number_of_frames=1))
    signature = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
    data.PixelData = encapsulate([signature + length.to_bytes(4, "big") + b"ftyp" + stream])
    data.save_as(path)
    with pytest.raises(AttrinetError, match=f"a box of {length} bytes"):
        read_grey(path)
