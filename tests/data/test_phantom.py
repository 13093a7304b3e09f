"""Phantoms are deterministic, show what their labels say, where their masks say, at every size."""

import numpy as np
import pytest

from attrinet.data.phantom import FINDINGS, phantom, phantom_source, read_phantom
from attrinet.errors import AttrinetError


def test_the_same_seed_and_number_give_the_same_phantom():
    a, b = phantom(3, 5, 64), phantom(3, 5, 64)
    np.testing.assert_array_equal(a.image, b.image)
    assert not np.array_equal(a.image, phantom(3, 6, 64).image) and not np.array_equal(a.image, phantom(4, 5, 64).image)
    np.testing.assert_array_equal(read_phantom("phantom:3:5:64:PA"), a.image)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_the_image_inside_its_mask_and_hardly_outside(name):
    for index in range(12):
        healthy, sick = phantom(0, index, 64, ()), phantom(0, index, 64, (name,))
        c = FINDINGS.index(name)
        assert sick.labels.tolist() == [int(k == c) for k in range(5)]
        assert sick.masks[c].any() and not sick.masks[[k for k in range(5) if k != c]].any()
        change = np.abs(sick.image - healthy.image)
        share = sick.masks[c].mean()
        assert 0.002 < share < 0.35
        assert change[sick.masks[c]].mean() > 8 * change[~sick.masks[c]].mean()


def test_findings_come_together_at_the_rates_of_a_ward():
    labels = phantom_source(4000, 32).manifest[list(FINDINGS)].to_numpy(float)
    prevalence = labels.mean(0)
    assert ((prevalence > 0.1) & (prevalence < 0.3)).all()
    assert 0.3 < (labels.sum(1) == 0).mean() < 0.55  # healthy
    heart, edema = labels[:, 1], labels[:, 3]
    assert edema[heart == 1].mean() > 2.5 * edema[heart == 0].mean()


def test_size_only_samples_the_same_anatomy():
    big, small = phantom(0, 4, 256), phantom(0, 4, 64)
    reduced = big.image.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(reduced.ravel(), small.image.ravel())[0, 1] > 0.98


def test_wrong_arguments_are_named():
    with pytest.raises(AttrinetError, match="'Mass'"):
        phantom(0, 0, 64, ("Mass",))
    with pytest.raises(AttrinetError, match="n=0"):
        phantom_source(0, 64)


def test_a_patient_in_bed_has_the_same_findings_and_lesions_on_another_film():
    up, lying = phantom(3, 5, 64), phantom(3, 5, 64, bedside=True)
    np.testing.assert_array_equal(lying.masks, up.masks)
    np.testing.assert_array_equal(lying.labels, up.labels)
    changed = np.abs(lying.image - up.image) > 0.1
    assert changed[:, :8].mean() > 0.2  # arms along the trunk
    np.testing.assert_array_equal(read_phantom("phantom:3:5:64:AP"), lying.image)


def test_the_asked_share_of_the_ill_and_a_tenth_of_the_healthy_lie_in_bed():
    source = phantom_source(2000, 32, seed=1, bedside=0.9)
    ill = source.manifest[list(FINDINGS)].to_numpy(int).any(1)
    lying = source.manifest["view"].to_numpy() == "AP"
    assert abs(lying[ill].mean() - 0.9) < 0.03
    assert abs(lying[~ill].mean() - 0.1) < 0.03
    upright = phantom_source(2000, 32, seed=1)
    assert set(upright.manifest["view"]) == {"PA"}
    assert list(upright.manifest["id"]) == list(source.manifest["id"])
    assert list(upright.manifest["split"]) == list(source.manifest["split"])


def test_a_share_in_bed_beyond_one_is_refused():
    with pytest.raises(AttrinetError, match="bedside=1.5"):
        phantom_source(10, 32, bedside=1.5)
