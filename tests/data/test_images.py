"""Any radiograph file becomes the same grey image; anything else is refused by name."""

import io

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from attrinet.data.images import image_size, read_grey, read_image, resize, to_tensor, to_uint8
from attrinet.errors import AttrinetError

RAMP = np.linspace(0, 1, 24 * 20).reshape(24, 20)


def dicom(path, pixels, photometric="MONOCHROME2", bits=12, **tags):
    """A minimal single-frame radiograph."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = photometric
    data.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return data


def twelve_bit():
    return (RAMP * 4095).astype(np.uint16)


@pytest.mark.parametrize("bits,dtype", [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_dicom_of_any_depth_keeps_its_values(tmp_path, bits, dtype):
    pixels = (RAMP * (2**bits - 1)).astype(dtype)
    dicom(tmp_path / "a.dcm", pixels, bits=bits)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.dcm"), pixels.astype(np.float32))


def test_signed_values_and_rescale(tmp_path):
    pixels = (RAMP * 1000 - 500).astype(np.int16)
    dicom(tmp_path / "a.dcm", pixels, bits=16, RescaleSlope=2, RescaleIntercept=-100)
    np.testing.assert_allclose(read_grey(tmp_path / "a.dcm"), pixels * 2.0 - 100)


def test_monochrome1_is_shown_the_other_way_round(tmp_path):
    pixels = twelve_bit()
    dicom(tmp_path / "one.dcm", 4095 - pixels, photometric="MONOCHROME1")
    dicom(tmp_path / "two.dcm", pixels)
    np.testing.assert_array_equal(read_grey(tmp_path / "one.dcm"), read_grey(tmp_path / "two.dcm"))


def test_window_clips_and_a_voi_lut_maps(tmp_path):
    dicom(tmp_path / "w.dcm", twelve_bit(), WindowCenter=2048, WindowWidth=1000)
    image = read_grey(tmp_path / "w.dcm")
    low, high = twelve_bit() < 1500, twelve_bit() > 2600
    assert len(np.unique(image[low])) == 1 and len(np.unique(image[high])) == 1
    assert image[low].max() < image[high].min()
    item = Dataset()
    falling = np.arange(65535, 65535 - 4096 * 8, -8).astype("<u2")
    item.LUTDescriptor, item.LUTData = [4096, 0, 16], falling.tobytes()
    dicom(tmp_path / "l.dcm", twelve_bit(), VOILUTSequence=[item])
    assert read_grey(tmp_path / "l.dcm")[0, 0] > read_grey(tmp_path / "l.dcm")[-1, -1]


def test_palette_and_rgb_become_luminance(tmp_path):
    colors = np.zeros((24, 20, 3), np.uint8)
    colors[..., 1] = (RAMP * 255).astype(np.uint8)
    dicom(tmp_path / "rgb.dcm", colors, photometric="RGB", bits=8)
    np.testing.assert_allclose(read_grey(tmp_path / "rgb.dcm"), 0.587 * colors[..., 1], rtol=1e-5)
    ramp = np.arange(256, dtype=np.uint16) * 257
    palette = {f"{c}PaletteColorLookupTable{part}": v for c in ("Red", "Green", "Blue")
               for part, v in (("Descriptor", [256, 0, 16]), ("Data", ramp.tobytes()))}
    indices = (RAMP * 255).astype(np.uint8)
    dicom(tmp_path / "p.dcm", indices, photometric="PALETTE COLOR", bits=8, **palette)
    np.testing.assert_allclose(read_grey(tmp_path / "p.dcm"), indices * 257.0, rtol=1e-4, atol=1)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_compressed_transfer_syntaxes(tmp_path, syntax):
    pixels = twelve_bit()
    data = dicom(tmp_path / "raw.dcm", pixels)
    if syntax == JPEGLosslessSV1:  # nothing here can write it; pydicom ships a file
        path = pydicom.data.get_testdata_file("SC_rgb_jpeg_lossy_gdcm.dcm") and pydicom.data.get_testdata_file(
            "JPEG-LL.dcm", download=False)
        if path is None:
            pytest.skip("pydicom's JPEG lossless example is not installed")
        assert read_grey(path).shape == (1024, 256)
        return
    try:
        data.compress(syntax)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        pytest.skip(f"no encoder for {syntax.name}: {error}")
    data.save_as(tmp_path / "c.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_grey(tmp_path / "c.dcm"), pixels)


def test_a_multi_frame_file_is_refused_by_name(tmp_path):
    pixels = np.zeros((24, 20), np.uint8)
    data = dicom(tmp_path / "m.dcm", pixels, bits=8)
    data.NumberOfFrames, data.PixelData = 3, pixels.tobytes() * 3
    data.save_as(tmp_path / "m.dcm")
    with pytest.raises(AttrinetError, match=r"m\.dcm: has 3 frames"):
        read_grey(tmp_path / "m.dcm")
    frames = [Image.fromarray(pixels)] * 2
    frames[0].save(tmp_path / "m.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(AttrinetError, match=r"m\.tif: has 2 frames"):
        read_grey(tmp_path / "m.tif")


def test_sixteen_bit_png_keeps_its_depth(tmp_path):
    pixels = (RAMP * 65535).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), pixels)


def test_transparency_lies_over_black_and_colour_becomes_luminance(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :3], rgba[:4, :, 3] = 200, 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_grey(tmp_path / "a.png")
    np.testing.assert_allclose(image[:4], 200, atol=1e-3)
    assert (image[4:] == 0).all()
    Image.new("CMYK", (8, 8), (0, 0, 0, 128)).save(tmp_path / "c.jpg")
    assert abs(read_grey(tmp_path / "c.jpg").mean() - 127) < 4


def test_exif_rotation_is_applied(tmp_path):
    pixels = (RAMP * 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), np.rot90(pixels, -1))
    assert image_size(tmp_path / "a.png") == (24, 20)


def bad_files(folder):
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(folder / "whole.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not an image")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:90])
    dicom(folder / "whole.dcm", twelve_bit())
    (folder / "cut.dcm").write_bytes((folder / "whole.dcm").read_bytes()[:-300])
    (folder / "header.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "folder.png").mkdir()
    return ("empty.png", "text.png", "cut.png", "cut.dcm", "header.dcm", "folder.png", "missing.png")


def test_what_is_no_image_is_refused_by_name(tmp_path):
    for name in bad_files(tmp_path):
        with pytest.raises(AttrinetError, match=name.replace(".", r"\.")):
            read_grey(tmp_path / name)


def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    with pytest.raises(AttrinetError, match="limit"):
        read_grey(tmp_path / "bomb.png")


def test_paper_intensity_maps_fifth_to_ninety_fifth_percentile_after_any_z_score():
    image = np.random.default_rng(0).gamma(2, 100, (64, 64)).astype(np.float32)
    z = (image - image.mean()) / image.std()
    low, high = np.percentile(z, [5, 95])
    want = np.clip((z - low) / (high - low), 0, 1) * 2 - 1
    np.testing.assert_allclose(to_tensor(to_uint8(image)).numpy(), want, atol=1 / 127 + 1e-6)
    wide = to_tensor(to_uint8(image, "nih-code")).numpy()
    assert (np.abs(wide) == 1).mean() < 0.05 < (np.abs(want) == 1).mean()


def test_flat_images_become_mid_grey_and_unknown_mappings_are_refused():
    assert (to_uint8(np.full((4, 4), 7.0)) == 128).all()
    with pytest.raises(AttrinetError, match="nih-code"):
        to_uint8(RAMP, "percentile")


def test_resize_keeps_means_and_aspect_when_asked():
    image = np.random.default_rng(0).random((60, 90)).astype(np.float32)
    assert resize(image, 30).mean() == pytest.approx(image.mean(), abs=5e-3)
    square = resize(image, 90, keep_aspect=True)
    assert square.shape == (90, 90) and (square[:15] == image.min()).all()
    np.testing.assert_allclose(square[15:75], image, atol=1e-6)


def test_read_image_gives_a_batch_of_one_in_range(tmp_path):
    dicom(tmp_path / "a.dcm", twelve_bit())
    x = read_image(tmp_path / "a.dcm", size=64)
    assert x.shape == (1, 1, 64, 64) and x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
