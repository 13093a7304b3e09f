"""Boxes and masks land on the pixels that the image lands on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attrinet.data import annotations as notes
from attrinet.data.images import resize
from attrinet.errors import AttrinetError


@settings(max_examples=80, deadline=None)
@given(
    st.integers(20, 300), st.integers(20, 300), st.integers(8, 96), st.booleans(),
    st.tuples(*[st.floats(0, 1)] * 4), st.sampled_from(["box", "mask"]),
)
def test_rasterise_then_resize_is_resize_then_rasterise(height, width, size, keep_aspect, corners, kind):
    """Away from the lesion's border, the raster at the store's size is the resized raster of the original."""
    x0, x1 = sorted((round(corners[0] * width), round(corners[1] * width)))
    y0, y1 = sorted((round(corners[2] * height), round(corners[3] * height)))
    x1, y1 = min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height)
    x0, y0 = min(x0, x1 - 1), min(y0, y1 - 1)
    full = np.zeros((height, width), bool)
    full[y0:y1, x0:x1] = True
    row = (notes.box_row("a", "f", x0, y0, x1 - x0, y1 - y0, width, height) if kind == "box"
           else notes.mask_row("a", "f", full))
    got = notes.rasterise(notes.table([row]), size, keep_aspect)
    soft = resize(full.astype(np.float32), size, keep_aspect)
    if keep_aspect and full.all():  # resize pads with the image's minimum, which here is inside
        return
    assert got[soft > 0.97].all()
    assert not got[soft < 0.001].any() or got.sum() == 1
    assert got.any()


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


def test_run_lengths_come_back_as_they_went_in():
    mask = np.random.default_rng(0).random((37, 53)) > 0.6
    row = notes.mask_row("a", "f", mask)
    np.testing.assert_array_equal(notes.decode(row["rle"], 53, 37), mask)


def test_a_damaged_run_length_names_its_image():
    with pytest.raises(AttrinetError, match="'a'"):
        notes.decode("\x00nonsense", 10, 10, "a")
