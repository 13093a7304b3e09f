"""Boxes and masks land on the pixels that the image lands on, and where they cannot be exact, only on their outline."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attrinet.data import annotations as notes
from attrinet.data.images import resize
from attrinet.errors import AttrinetError

FINE = 1e-3  # shares nearer than this to 0, 1/2 or 1 may be rounded to either side


def overlap(extent, offset, side, size):
    """(size, extent): the share of store pixel j that source pixel i covers, along one axis. Written as defined."""
    start = np.arange(size)[:, None] * side / size - offset
    source = np.arange(extent)[None]
    both = np.minimum(start + side / size, source + 1) - np.maximum(start, source)
    return both.clip(0) * size / side


def frame(shape, keep_aspect):
    """(side, offset) of each axis: the length that becomes the store's, and where the image starts on it."""
    side = max(shape)
    return [(side, (side - n) // 2) if keep_aspect else (n, 0) for n in shape]


def covered(mask, size, keep_aspect):
    """(size, size): the share of every store pixel that the mask covers, exactly."""
    y, x = (overlap(n, offset, side, size) for n, (side, offset) in zip(mask.shape, frame(mask.shape, keep_aspect),
                                                                              strict=True))
    return y @ mask @ x.T


def resized(fine, times, size, keep_aspect):
    """A (H·times, W·times) drawing through the images' own resize → (size, size) bool.

    Drawn many times finer than the image, so that what is compared is the outline, not the interpolation of pixels;
    that resize puts an image of every size in the same place is test_images' business.
    """
    shape = [n // times for n in fine.shape]
    pads = [(offset * times, (side - offset) * times - n)
            for n, (side, offset) in zip(fine.shape, frame(shape, keep_aspect), strict=True)]
    return resize(np.pad(fine, pads).astype(np.float32), size) > 0.5


SIDES, SIZES = st.integers(3, 90), st.integers(4, 40)


@st.composite
def masks(draw):
    """Blobs, holes, single pixels, whole images, of odd sizes."""
    height, width = draw(SIDES), draw(SIDES)
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 4))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : y + draw(st.integers(1, height)), x : x + draw(st.integers(1, width))] ^= True
    return mask


@settings(max_examples=100, deadline=None)
@given(masks(), SIZES, st.booleans())
@example(np.eye(7, dtype=bool), 64, True)
@example(np.arange(35).reshape(5, 7) % 3 == 0, 16, False)
def test_a_mask_rasterised_is_the_resized_mask_except_where_its_outline_crosses(mask, size, keep_aspect):
    """Both ways agree on every store pixel that lies wholly inside or wholly outside, and nothing is marked outside."""
    got = notes.rasterise(notes.table([notes.mask_row("a", "f", mask)]), size, keep_aspect)
    share = covered(mask, size, keep_aspect)
    inside, outside = share > 1 - FINE, share < FINE
    assert got[inside].all() and not got[outside].any()
    if 0 < share.max() < 0.5 - FINE:  # too thin: the pixel it covers most
        assert got.sum() == 1 and share[got] >= share.max() - FINE
    else:
        sure = np.abs(share - 0.5) > FINE
        np.testing.assert_array_equal(got[sure], (share > 0.5)[sure])
    times = -(-6 * size // min(mask.shape))
    soft = resized(np.kron(mask, np.ones((times, times), bool)), times, size, keep_aspect)
    assert soft[inside].all() and not soft[outside].any()


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, SIZES, st.booleans(), st.tuples(*[st.floats(-0.3, 1.3)] * 4))
@example(101, 57, 16, True, (0.2, 0.9, 0.1, 0.4))
@example(10, 130, 64, False, (0.5, 0.6, 0.5, 0.55))
def test_a_box_rasterised_is_the_resized_box_except_where_its_outline_crosses(height, width, size, keep_aspect, ends):
    """Corners anywhere, also between pixels and beyond the image, to which the box is clipped."""
    (x0, x1), (y0, y1) = sorted(v * width for v in ends[:2]), sorted(v * height for v in ends[2:])
    row = notes.box_row("a", "f", x0, y0, x1 - x0, y1 - y0, width, height)
    got = notes.rasterise(notes.table([row]), size, keep_aspect)
    shares = []
    for n, (side, offset), low, high in zip((height, width), frame((height, width), keep_aspect), (y0, x0), (y1, x1),
                                            strict=True):
        start = np.arange(size) * side / size - offset
        both = np.minimum(start + side / size, min(high, n)) - np.maximum(start, max(low, 0))
        shares.append(both.clip(0) * size / side)
    share = np.outer(*shares)
    inside, outside = share > 1 - FINE, share == 0
    assert got[inside].all()
    if share.max() < FINE:  # beyond the image, or without extent
        assert not got[outside].any() or got.sum() <= 1
        return
    assert got.any() and not got[outside].any()
    sure = np.logical_and.outer(*(np.abs(part - 0.5) > FINE for part in shares))
    if all(part.max() > 1 - FINE for part in shares):  # not thin: on either axis the pixel's centre decides
        np.testing.assert_array_equal(got[sure], np.logical_and.outer(*(part > 0.5 for part in shares))[sure])
    times = -(-6 * size // min(height, width))
    fine = np.zeros((height * times, width * times), bool)
    rows, columns = (slice(*np.rint(np.multiply((low, high), times)).astype(int).clip(0))
                     for low, high in ((y0, y1), (x0, x1)))
    fine[rows, columns] = True
    soft = resized(fine, times, size, keep_aspect)
    assert soft[inside].all() and not soft[outside].any()


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("shape,size,keep_aspect,corner,extent", [
    ((64, 96), 32, False, (8, 9), (20, 30)), ((96, 64), 24, True, (8, 12), (40, 16)),
    ((64, 96), 24, True, (0, 4), (64, 8)), ((40, 40), 20, True, (2, 20), (8, 20)),
    ((16, 24), 48, True, (3, 5), (6, 11)), ((16, 24), 48, False, (3, 5), (6, 11)),
])
def test_where_the_outline_lies_between_store_pixels_nothing_differs(kind, shape, size, keep_aspect, corner, extent):
    """No pixel is crossed, so every one is certain: a shift of one, a swapped axis, forgotten padding would show."""
    (y0, x0), (h, w) = corner, extent
    full = np.zeros(shape, bool)
    full[y0 : y0 + h, x0 : x0 + w] = True
    box = notes.box_row("a", "f", x0, y0, w, h, shape[1], shape[0])
    row = box if kind == "box" else notes.mask_row("a", "f", full)
    share = covered(full, size, keep_aspect).round(6)
    assert set(np.unique(share)) == {0, 1}
    np.testing.assert_array_equal(notes.rasterise(notes.table([row]), size, keep_aspect), share == 1)


def test_overlapping_boxes_are_a_union_and_go_no_further_than_the_image():
    rows = [notes.box_row("a", "f", -50, -50, 60, 60, 100, 100), notes.box_row("a", "f", 5, 5, 20, 1000, 100, 100)]
    got = notes.rasterise(notes.table(rows), 100)
    want = np.zeros((100, 100), bool)
    want[:10, :10] = want[5:, 5:25] = True
    np.testing.assert_array_equal(got, want)


def test_a_box_outside_the_image_marks_nothing_and_a_thin_one_marks_its_middle():
    assert not notes.rasterise(notes.table([notes.box_row("a", "f", 120, 5, 20, 20, 100, 100)]), 50).any()
    thin = notes.rasterise(notes.table([notes.box_row("a", "f", 50.2, 30, 0.1, 0.1, 100, 100)]), 10)
    assert thin.sum() == 1 and thin[3, 5]


def test_a_mask_of_a_long_strip_needs_no_square():
    mask = np.zeros((60_000, 10), bool)
    mask[:30_000] = True
    tracemalloc.start()
    got = notes.rasterise(notes.table([notes.mask_row("a", "f", mask)]), 32, keep_aspect=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.sum() == 1 and got[:16, 15:17].any() and peak < 50_000_000


def test_run_lengths_come_back_as_they_went_in():
    mask = np.random.default_rng(0).random((37, 53)) > 0.6
    row = notes.mask_row("a", "f", mask)
    np.testing.assert_array_equal(notes.decode(row["rle"], 53, 37), mask)


def test_a_damaged_run_length_names_its_image():
    with pytest.raises(AttrinetError, match="'a'"):
        notes.decode("\x00nonsense", 10, 10, "a")


@pytest.mark.parametrize("file, stays", [
    ((256, 205), True), ((256, 204), True), ((205, 256), False), ((256, 256), False),
])
def test_a_box_refers_to_the_original_unless_the_file_has_another_aspect_ratio(file, stays):
    *box, width, height = notes.in_file((100, 60, 50, 40), (2500, 2000), file)
    assert (width, height) == ((2500, 2000) if stays else file)
    assert box == pytest.approx([100 * width / 2500, 60 * height / 2000, 50 * width / 2500, 40 * height / 2000])
