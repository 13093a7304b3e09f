"""The picture of the guidance masks says what is in each panel, under that panel."""

from types import SimpleNamespace

import numpy as np

from attrinet.guidance import Guidance
from attrinet.train.mask_files import MARGIN, PANEL, masks_picture


def captions(name):
    """What is under the panels of a finding of that name and of Edema: (height, width) grey."""
    store = SimpleNamespace(findings=(name, "Edema"), size=16, images=np.zeros((2, 16, 16)), labels=np.ones((2, 2)))
    guidance = Guidance("mixed-weighted", np.full((2, 16, 16), 0.52), lambda row, finding: None)
    picture = masks_picture(guidance, np.ones((1500, 2), bool), store, np.arange(2))
    return np.asarray(picture.convert("L"))[PANEL:]


def test_a_caption_stays_under_its_panel_however_long_the_name_is():
    for name in ("Edema", "Chronic obstructive pulmonary disease (COPD)", "W" * 200):
        drawn = captions(name)
        assert (drawn[:, PANEL - MARGIN : PANEL + MARGIN] == 255).all() and (drawn[:, -MARGIN:] == 255).all()
        assert (drawn[:, MARGIN : PANEL - MARGIN] < 255).any()


def test_letters_of_other_languages_are_drawn_as_letters():
    box = captions("\ue000")  # stands for no letter
    assert not any(np.array_equal(captions(letter), box) for letter in "ÉŒœßłЖ")
