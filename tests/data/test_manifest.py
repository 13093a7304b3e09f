"""Uncertain labels follow their policy, patients stay together, and broken sources are refused with their row."""

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrinet.data import annotations as notes
from attrinet.data.manifest import (
    check,
    known,
    leave_out,
    need_columns,
    renamed,
    split_by_patient,
    uncertain_to_label,
)
from attrinet.data.phantom import phantom_source
from attrinet.errors import AttrinetError


@pytest.mark.parametrize("policy,want", [("zeros", [1, 0, 0, None]), ("ones", [1, 0, 1, None]),
                                         ("ignore", [1, 0, None, None])])
def test_uncertain_policies(policy, want):
    got = uncertain_to_label(pd.Series([1.0, 0.0, -1.0, np.nan], name="Edema"), policy)
    assert [None if pd.isna(v) else int(v) for v in got] == want


@pytest.mark.parametrize("values, said", [(["1", "yes"], "yes"), ([1, 7], "7"), ([1, 0.5], "0.5")])
def test_a_label_that_is_none_names_its_column_and_line(values, said):
    with pytest.raises(AttrinetError, match=f"line 3: column 'Edema' holds '{said}'; labels are"):
        uncertain_to_label(pd.Series(values, name="Edema"), "zeros")


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200), st.integers(0, 5))
def test_no_patient_is_in_two_splits_whatever_the_order(patients, seed):
    fractions = {"train": 0.7, "valid": 0.1, "test": 0.2}
    names = [f"p{p}" for p in patients]
    split = dict(zip(names, split_by_patient(names, fractions, seed), strict=True))
    assert [split[p] for p in names] == list(split_by_patient(names, fractions, seed))
    again = dict(zip(names[::-1], split_by_patient(names[::-1], fractions, seed), strict=True))
    assert again == split


def test_fractions_are_of_patients():
    got = pd.Series(split_by_patient([str(k) for k in range(1000)], {"train": 0.8, "valid": 0.2}, 0)).value_counts()
    assert got.to_dict() == {"train": 800, "valid": 200}


@pytest.mark.parametrize("asked, present", [("patient", "Patient"), ("image", "IMAGES"), ("Edema", "Oedema")])
def test_a_missing_column_names_the_nearest(asked, present):
    with pytest.raises(AttrinetError, match=f"'{asked}'; did you mean '{present}'.; name it; it has age, {present}"):
        need_columns(pd.DataFrame({"age": [1], present: [1]}), [asked], "labels.csv", "name it")


def test_what_only_ends_alike_is_not_near():
    with pytest.raises(AttrinetError, match="no column 'image'; it has age, dose"):
        need_columns(pd.DataFrame({"age": [1], "dose": [1]}), ["image"], "labels.csv")


def test_an_unknown_name_is_told_the_nearest_and_all_others():
    known("views", ["PA"], ("PA", "AP"))
    with pytest.raises(AttrinetError, match="findings: 'Edma' is unknown; did you mean 'Edema'. There are Edema, Mass"):
        known("findings", ["Mass", "Edma"], ("Edema", "Mass"))


def test_rows_that_are_left_out_are_counted_by_reason():
    excluded, frame = Counter(), pd.DataFrame({"view": ["PA", "AP", "PA", "LL"]})
    frame = leave_out(frame, frame["view"] == "AP", "AP view", excluded)
    frame = leave_out(frame, frame["view"] == "PA", "PA view", excluded)
    assert frame["view"].tolist() == ["LL"] and excluded == {"AP view": 1, "PA view": 2}


def broken(change):
    source = phantom_source(12, 32)
    frame = source.manifest.copy()
    return dataclasses.replace(source, **change(source, frame))


def test_a_finding_called_as_the_mean_over_findings_is_refused_until_it_is_renamed():
    source = broken(lambda s, f: {"manifest": f.assign(mean=f["Edema"]), "findings": ("mean", "Edema")})
    source = dataclasses.replace(source, annotations=source.annotations[source.annotations["finding"] == "Edema"])
    with pytest.raises(AttrinetError, match="called .mean. would be given .*; call it otherwise: prepare --rename"):
        check(source)
    check(renamed(source, {"mean": "Mean"}))
    with pytest.raises(AttrinetError, match="--rename: 'mean' is what evaluations call the mean over findings"):
        renamed(source, {"Edema": "mean", "mean": "Edema"})


@pytest.mark.parametrize("change,message", [
    (lambda s, f: {"manifest": f.assign(id="same")}, "comes more than once"),
    (lambda s, f: {"manifest": f.assign(patient="same")}, "in more than one split"),
    (lambda s, f: {"manifest": f.assign(split="training")}, "unknown split 'training'"),
    (lambda s, f: {"manifest": f.assign(source=None)}, "no source"),
    (lambda s, f: {"manifest": f.assign(Edema=3)}, "'Edema' holds 3"),
    (lambda s, f: {"manifest": f.iloc[:0], "excluded": {"lateral view": 3}}, "lateral view"),
    (lambda s, f: {"findings": ("Edema", "Edema")}, "different names"),
    (lambda s, f: {"annotations": notes.table([notes.box_row("?", "Edema", 0, 0, 1, 1, 9, 9)])}, "unknown id '\\?'"),
])
def test_a_source_that_would_mislead_is_refused(change, message):
    with pytest.raises(AttrinetError, match=message):
        check(broken(change))
