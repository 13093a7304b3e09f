"""Any picture file becomes the same grey image; anything else is refused by name. DICOM: test_dicom.py."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from attrinet.data.images import (
    LUMINANCE,
    fit,
    image_size,
    look_up,
    padding,
    read_grey,
    read_image,
    resize,
    to_tensor,
    to_uint8,
)
from attrinet.errors import AttrinetError

RAMP = np.linspace(0, 1, 24 * 20).reshape(24, 20)
EIGHT = (RAMP * 255).astype(np.uint8)
SIXTEEN = (RAMP * 65535).astype(np.uint16)


def png(width, height, depth, kind, rows=b"", **chunks):
    """A PNG file written by hand: what Pillow cannot write, and sizes nobody should decode."""
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
        *(chunk(name.encode(), body) for name, body in chunks.items()), chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ])


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jp2", "webp", "gif", "pgm"])
def test_eight_bit_grey_keeps_its_values_in_every_lossless_format(tmp_path, suffix):
    Image.fromarray(EIGHT).save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_allclose(read_grey(tmp_path / f"a.{suffix}"), EIGHT, atol=1e-3)
    assert image_size(tmp_path / f"a.{suffix}") == (20, 24)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    Image.fromarray(SIXTEEN).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_grey(tmp_path / f"a.{suffix}"), SIXTEEN)


def test_float_tiff_keeps_its_values_unless_they_are_no_numbers(tmp_path):
    values = (RAMP * 3 - 1).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), values)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "n.tif")
    with pytest.raises(AttrinetError, match=r"n\.tif: has NaN"):
        read_grey(tmp_path / "n.tif")


def tiff(pixels, white_is_zero):
    """A TIFF file of one strip written by hand."""
    bits, (height, width) = 8 * pixels.itemsize, pixels.shape
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1),
               (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, pixels.nbytes)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + pixels.nbytes) + pixels.tobytes() + struct.pack("<H", len(entries)) \
        + table + b"\0" * 4


@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path, pixels, white_is_zero):
    (tmp_path / "a.tif").write_bytes(tiff(pixels, white_is_zero))
    np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), ~pixels if white_is_zero else pixels)


def test_a_floating_point_tiff_whose_white_is_zero_is_turned_round_within_its_range(tmp_path):
    values = SIXTEEN.astype(np.float32) - 7.5
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read_grey(tmp_path / "a.tif"), values.max() + values.min() - values)


def test_one_bit_and_palette_pictures(tmp_path):
    Image.fromarray(EIGHT > 99).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "one.png"), 255 * (EIGHT > 99))
    colors = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    palette = Image.fromarray(EIGHT)
    palette.putpalette(colors.tobytes())
    palette.save(tmp_path / "p.png")
    np.testing.assert_allclose(read_grey(tmp_path / "p.png"), colors[EIGHT] @ LUMINANCE, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5)])
def test_odd_sizes_are_read(tmp_path, shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape) * 9
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), pixels)
    for keep_aspect in (False, True):
        assert read_image(tmp_path / "a.png", size=16, keep_aspect=keep_aspect).isfinite().all()


def test_transparency_lies_over_black(tmp_path):
    alpha = np.random.default_rng(0).integers(0, 256, EIGHT.shape, dtype=np.uint8)
    want = EIGHT * (alpha / 255)
    Image.fromarray(np.dstack([EIGHT] * 3 + [alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([EIGHT, alpha])).save(tmp_path / "la.png")
    for name in ("rgba.png", "la.png"):
        np.testing.assert_allclose(read_grey(tmp_path / name), want, atol=1)
    palette = Image.fromarray(EIGHT)
    palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    palette.save(tmp_path / "p.png", transparency=int(EIGHT[5, 5]))
    np.testing.assert_allclose(read_grey(tmp_path / "p.png"), EIGHT * (EIGHT[5, 5] != EIGHT), atol=1e-3)


@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_grey_png_may_name_one_transparent_grey(tmp_path, pixels):
    key = pixels[-1, -1]
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
    (tmp_path / "a.png").write_bytes(png(20, 24, 8 * pixels.itemsize, 0, rows, tRNS=struct.pack(">H", key)))
    np.testing.assert_allclose(read_grey(tmp_path / "a.png"), pixels * (pixels != key), atol=1e-3)


def test_cmyk_jpegs_of_adobe_and_of_others(tmp_path):
    """Adobe's hold inverted inks and say so in a marker; without it they are as they stand."""
    file = io.BytesIO()
    Image.merge("CMYK", [Image.new("L", (16, 16), v) for v in (10, 60, 110, 128)]).save(file, "JPEG", quality=100)
    adobe = file.getvalue()
    start = adobe.index(b"\xff\xee")
    assert adobe[start + 4 : start + 9] == b"Adobe"
    other = adobe[:start] + adobe[start + 2 + int.from_bytes(adobe[start + 2 : start + 4], "big") :]
    for name, data, inks in (("adobe", adobe, [10, 60, 110, 128]), ("other", other, [245, 195, 145, 127])):
        (tmp_path / f"{name}.jpg").write_bytes(data)
        c, m, y, k = (1 - np.array(inks) / 255)
        want = 255 * k * (np.array([c, m, y]) @ LUMINANCE)
        np.testing.assert_allclose(read_grey(tmp_path / f"{name}.jpg"), want, atol=2, err_msg=name)


TURNS = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
         6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("pixels", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_exif_rotation_is_applied(tmp_path, pixels, orientation):
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    want = TURNS[orientation](pixels)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), want)
    assert image_size(tmp_path / "a.png") == want.shape[::-1]


@pytest.mark.parametrize("suffix", ["png", "tif", "gif", "webp"])
def test_several_frames_are_refused_by_name(tmp_path, suffix):
    frames = [Image.fromarray(EIGHT), Image.fromarray(255 - EIGHT)]
    frames[0].save(tmp_path / f"m.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(AttrinetError, match=rf"m\.{suffix}: has 2 frames"):
        read_grey(tmp_path / f"m.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp", "jp2", "pgm"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_an_empty_or_cut_file_is_refused_by_name(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"w.{suffix}")
    whole = (tmp_path / f"w.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: int(len(whole) * share)])
    for read in (read_grey, read_image) if share else (read_grey, read_image, image_size):
        with pytest.raises(AttrinetError, match=rf"cut\.{suffix}: " + ("" if share else "the file is empty")):
            read(tmp_path / f"cut.{suffix}")


@pytest.mark.parametrize("name", [
    "text.png", "text.dcm", "zeros.dcm", "dicm.dcm", "group.dcm", "post.eps", "folder.png", "missing.png",
    "dangling.png", "pipe.png", "null.png",
])
@pytest.mark.parametrize("read", [read_grey, image_size])
def test_what_is_no_image_is_refused_by_name(tmp_path, name, read):
    path = tmp_path / name
    if "text" in name:
        path.write_text("not an image, though its name says so. " * 20)
    elif name == "post.eps":  # Pillow would start an interpreter
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 24\n%%EndComments\n%%EOF\n")
    elif name.endswith(".dcm"):
        path.write_bytes({"z": b"\0" * 999, "d": b"\0" * 128 + b"DICM", "g": b"\x08\0\x05\0CS"}[name[0]])
    elif name == "folder.png":
        path.mkdir()
    elif name == "dangling.png":
        path.symlink_to(tmp_path / "nowhere")
    elif name == "pipe.png":
        os.mkfifo(path)
    elif name == "null.png":
        path.symlink_to("/dev/null")
    with pytest.raises(AttrinetError, match=name.replace(".", r"\.") + ": ") as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("width,height", [(20_000, 20_000), (11_000, 10_000), (70_000, 1)])
def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(tmp_path, width, height):
    """Its pixel data are rubbish: who decodes them says so instead."""
    (tmp_path / "bomb.png").write_bytes(png(width, height, 8, 0, b"rubbish"))
    with pytest.raises(AttrinetError, match=r"bomb\.png: .*limit"):
        read_grey(tmp_path / "bomb.png")


def test_every_byte_becomes_the_same_float_whichever_way_it_is_made():
    every = np.arange(256, dtype=np.uint8)
    want = torch.from_numpy(every).float().div(127.5).sub(1)
    assert (to_tensor(every) == want).all() and (look_up(torch.from_numpy(every)) == want).all()
    many = np.random.default_rng(0).integers(0, 256, (7, 301, 299), dtype=np.uint8)
    assert (to_tensor(many[::2]) == torch.from_numpy(many[::2]).float().div(127.5).sub(1)).all()


def test_paper_intensity_maps_fifth_to_ninety_fifth_percentile_after_any_z_score():
    image = np.random.default_rng(0).gamma(2, 100, (64, 64)).astype(np.float32)
    z = (image - image.mean()) / image.std()
    low, high = np.percentile(z, [5, 95])
    want = np.clip((z - low) / (high - low), 0, 1) * 2 - 1
    np.testing.assert_allclose(to_tensor(to_uint8(image)).numpy(), want, atol=1 / 127 + 1e-6)
    low, high = np.percentile(z, [0.95, 99.05])
    want = np.clip((z - low) / (high - low), 0, 1) * 2 - 1
    np.testing.assert_allclose(to_tensor(to_uint8(image, "nih-code")).numpy(), want, atol=1 / 127 + 1e-6)


def test_minmax_and_none_map_as_they_say():
    image = np.array([[-3.0, 1.0], [2.0, 7.0]])
    np.testing.assert_array_equal(to_uint8(image, "minmax"), [[0, 102], [128, 255]])
    np.testing.assert_array_equal(to_uint8(np.array([[-0.4, 0.4], [254.6, 255.4]]), "none"), [[0, 0], [255, 255]])


@pytest.mark.parametrize("value", [-1.0, 256.0, 4094.0])
def test_none_refuses_what_it_would_make_black_or_white(value, tmp_path):
    with pytest.raises(AttrinetError, match=r"'none' is for values of 0 … 255, not "):
        to_uint8(np.array([[0.0, value]]), "none")
    if value > 0:
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / "deep.png")
        with pytest.raises(AttrinetError, match=r"deep.png: intensity 'none'"):
            read_image(tmp_path / "deep.png", intensity="none")


def test_what_the_percentiles_do_not_see_is_still_there():
    image = np.zeros((40, 40))
    image[:1] = np.linspace(100, 4000, 40)
    np.testing.assert_array_equal(to_uint8(image), to_uint8(image, "minmax"))
    assert len(np.unique(to_uint8(image))) > 20


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_read_upright_and_so_is_its_size(dtype, compression, orientation, tmp_path):
    stored = np.arange(40 * 60, dtype=dtype).reshape(40, 60)
    path = tmp_path / "turned.tif"
    Image.fromarray(stored).save(path, tiffinfo={274: orientation}, compression=compression)
    turns = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T,
             6: np.rot90(stored, -1), 7: stored[::-1, ::-1].T, 8: np.rot90(stored)}
    np.testing.assert_array_equal(read_grey(path), turns[orientation])
    assert image_size(path) == turns[orientation].shape[::-1]


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_a_png_that_would_lose_half_of_its_bits_is_refused(colour_type, tmp_path):
    samples = {2: 3, 4: 2, 6: 4}[colour_type]
    row = b"\0" + np.arange(5 * samples, dtype=">u2").tobytes()
    (tmp_path / "deep.png").write_bytes(png(5, 1, 16, colour_type, row))
    assert np.asarray(Image.open(tmp_path / "deep.png")).max() == 0  # the upper eight bits alone
    with pytest.raises(AttrinetError, match="deep.png: a PNG of 16 bit with colour or alpha"):
        read_grey(tmp_path / "deep.png")


@pytest.mark.parametrize("shape", [(90, 30), (30, 90), (61, 60), (60, 60), (1, 400)])
def test_the_padding_of_keep_aspect_has_no_say_in_the_grey_levels(shape):
    """A picture whose every part has the same greys must come out alike, padded or not."""
    image = np.random.default_rng(0).permuted(np.tile(np.linspace(100, 200, 300), 20)).reshape(-1)
    image = np.resize(image, shape)
    padded, low, high = fit(image, max(shape), keep_aspect=True), *np.percentile(image, [5, 95])
    top, left = padding(*shape)
    inner = padded[top : top + shape[0], left : left + shape[1]]
    want = ((image - low) / (high - low) * 255).clip(0, 255)
    np.testing.assert_allclose(inner, want, atol=1)
    assert (padded.sum() - inner.sum()) == 0


def test_flat_images_become_mid_grey_and_unknown_mappings_are_refused():
    assert (to_uint8(np.full((4, 4), 7.0)) == 128).all()
    with pytest.raises(AttrinetError, match="nih-code"):
        to_uint8(RAMP, "percentile")


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("shape,size", [((60, 90), 30), ((97, 61), 40), ((31, 50), 200), ((33, 20), 47), ((3, 4), 64)])
def test_resize_puts_every_point_where_unit_squares_put_it(shape, size, keep_aspect):
    """Pictures of their own x and y coordinate: away from the edges each pixel tells which point it shows, to
    a twentieth of a source pixel (Pillow samples its filter at whole pixels)."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    sides = [max(shape)] * 2 if keep_aspect else shape
    at = [(np.arange(size) + 0.5) * side / size - (side - n) // 2 for side, n in zip(sides, shape, strict=True)]
    reach = [max(side / size, 1) for side in sides]  # of the filter; nearer to the edge it is cut
    inner = [(a > r) & (a < n - r) for a, r, n in zip(at, reach, shape, strict=True)]
    assert all(part.any() for part in inner)
    for picture, want in ((x, np.broadcast_to(at[1], (size, size))), (y, np.broadcast_to(at[0][:, None], (size,) * 2))):
        got = resize(picture, size, keep_aspect)
        np.testing.assert_allclose(got[np.ix_(*inner)], want[np.ix_(*inner)], atol=0.05)


def test_a_strip_is_padded_without_making_its_square():
    tracemalloc.start()
    got = resize(np.ones((60_000, 10), np.float32), 32, keep_aspect=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.shape == (32, 32) and peak < 50_000_000


def test_resize_keeps_means_and_aspect_when_asked():
    image = np.random.default_rng(0).random((60, 90)).astype(np.float32)
    assert resize(image, 30).mean() == pytest.approx(image.mean(), abs=5e-3)
    square = resize(image, 90, keep_aspect=True)
    assert square.shape == (90, 90) and (square[:15] == image.min()).all()
    np.testing.assert_allclose(square[15:75], image, atol=1e-6)


def test_read_image_gives_a_batch_of_one_in_range(tmp_path):
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(tmp_path / "a.png")
    x = read_image(tmp_path / "a.png", size=64)
    assert x.shape == (1, 1, 64, 64) and x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
