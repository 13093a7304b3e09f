"""Guidance masks (§3.5, App. C) built by hand for small annotations."""

import numpy as np
import pytest

from attrinet.errors import AttrinetError
from attrinet.guidance import MODES, Guidance, all_but, bounding_box, center_square, class_mask, union, weighted


def rectangle(top, left, height, width, size=8):
    mask = np.zeros((size, size), bool)
    mask[top : top + height, left : left + width] = True
    return mask


A, B = rectangle(0, 0, 2, 3), rectangle(1, 2, 3, 3)


def test_pseudo_mask_is_the_union():
    assert union(np.stack([A, B])).sum() == 6 + 9 - 1
    assert set(np.unique(union(np.stack([A, B])))) == {0, 1}


def test_pseudo_box_bounds_the_union():
    np.testing.assert_array_equal(class_mask([A, B], "pseudo-box", 8), rectangle(0, 0, 4, 5))
    assert not bounding_box(np.zeros((4, 4))).any()


def test_weighted_mask_is_the_normalised_count():
    got = weighted(np.stack([A, B, A]))
    assert got[0, 0] == pytest.approx(2 / 3) and got[1, 2] == 1 and got[3, 4] == pytest.approx(1 / 3) and got[7, 7] == 0


def test_a_finding_without_annotations_gets_the_papers_centred_square():
    square = class_mask([], "pseudo-mask", 320)
    assert square.sum() == 300 * 300 and square[10:310, 10:310].all()
    assert center_square(64).sum() == 60 * 60


def guidance(mode):
    class_masks = np.stack([class_mask([A, B], mode, 8), center_square(8, 0.5)])
    return Guidance(mode, class_masks, lambda row, c: {(5, 0): A | rectangle(7, 7, 1, 1)}.get((row, c)))


@pytest.mark.parametrize(
    "mode, annotated, other, guided",
    [
        ("full", A | rectangle(7, 7, 1, 1), None, [True, False]),
        ("box-only", np.ones((8, 8)), None, [True, False]),
        ("pseudo-mask", A | B, A | B, [True, True]),
        ("pseudo-box", rectangle(0, 0, 4, 5), rectangle(0, 0, 4, 5), [True, True]),
        ("mixed", A | rectangle(7, 7, 1, 1), A | B, [True, True]),
        ("weighted", weighted(np.stack([A, B])), weighted(np.stack([A, B])), [True, True]),
        ("mixed-weighted", A | rectangle(7, 7, 1, 1), weighted(np.stack([A, B])), [True, True]),
    ],
)
def test_each_mode_guides_an_annotated_and_another_image_as_described(mode, annotated, other, guided):
    masks, on = guidance(mode).masks(np.array([5, 6]), 0)
    np.testing.assert_array_equal(on, guided)
    np.testing.assert_allclose(masks[0], annotated)
    if other is not None:
        np.testing.assert_allclose(masks[1], other)


def test_unknown_modes_are_refused_with_the_known_ones():
    with pytest.raises(AttrinetError, match="mixed"):
        guidance("boxes")
    assert "none" in MODES


def test_guidance_off_a_shortcut_is_everything_but_its_widened_box():
    tag = np.zeros((320, 320), bool)
    tag[280:298, 20:120:2] = True  # letters have gaps; the box has none
    mask = all_but(tag)
    assert not mask[265:313, 5:134].any()
    assert mask.sum() == 320 * 320 - (313 - 265) * (134 - 5)
    corner = all_but(rectangle(6, 0, 2, 2), margin=1 / 8)
    np.testing.assert_array_equal(corner, 1 - rectangle(5, 0, 3, 3))


def test_a_shortcut_as_large_as_the_image_leaves_nothing_to_guide_to():
    frame = np.ones((8, 8), bool)
    frame[1:-1, 1:-1] = False
    with pytest.raises(AttrinetError, match="guidance.mode=given"):
        all_but(frame)


def test_masks_are_float32_and_which_are_guided_is_bool():
    for mode in ("full", "box-only", "pseudo-box", "mixed-weighted"):
        masks, on = guidance(mode).masks(np.array([5, 6]), 0)
        assert masks.dtype == np.float32 and on.dtype == bool
    assert center_square(8).dtype == weighted(np.stack([A, B])).dtype == np.float32


def test_a_single_annotation_weighs_one_and_a_square_can_be_tighter():
    np.testing.assert_array_equal(weighted(A[None]), A)
    assert class_mask([], "mixed", 8, square=0.5).sum() == 16


def test_no_guidance_has_no_masks_to_give():
    with pytest.raises(AttrinetError, match="'none'.*: choose one of none, full, "):
        Guidance("none", np.zeros((1, 8, 8)), lambda row, c: None)


def test_a_tag_of_a_tall_image_is_left_out_of_a_tall_mask():
    tag = np.zeros((8, 4), bool)
    tag[1, 1] = True
    np.testing.assert_array_equal(all_but(tag, margin=0), 1 - tag)


def test_an_empty_annotation_is_none_and_a_union_is_a_float_mask():
    blank, spot = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    guidance = Guidance("full", np.zeros((1, 4, 4), np.float32), lambda row, finding: [blank, spot, None][row])
    _, guided = guidance.masks(np.arange(3), 0)
    assert guided.tolist() == [False, True, False]
    assert union(np.stack([blank, spot])).dtype == np.float32
