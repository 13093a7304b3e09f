"""Examples are chosen by rule, not by looks."""

import numpy as np
import pandas as pd

from attrinet.report.examples import best_and_worst, choose, failures, located, located_extremes


def table(probabilities, labels, threshold=0.5):
    return pd.DataFrame({"id": [f"i{k}" for k in range(len(labels))], "finding": "Edema",
                         "label": pd.array(labels, dtype="Int8"), "probability": probabilities,
                         "called": [p >= threshold for p in probabilities]})


def test_the_typical_one_is_the_median_true_positive_and_the_wrong_one_the_worst_miss():
    typical, wrong = choose(table([0.9, 0.6, 0.7, 0.1, 0.3, 0.8], [1, 1, 1, 1, 1, 0]), ("Edema",))
    assert [e.id for e in typical] == ["i2"] and [e.id for e in wrong] == ["i3"]
    assert "missed" in wrong[0].why


def test_without_a_miss_the_most_confident_false_alarm_is_shown_and_unknown_labels_are_neither():
    typical, wrong = choose(table([0.9, 0.6, 0.99], [1, 0, None]), ("Edema",))
    assert [e.id for e in wrong] == ["i1"]
    assert choose(table([0.1, 0.2], [0, 0]), ("Edema",)) == ([], [])


def test_located_examples_are_at_the_first_and_third_quarter():
    rows = pd.DataFrame({"id": list("abcdefgh"), "finding": "Edema", "called": [True] * 7 + [False],
                         "inside": [0.7, 0.1, 0.3, 0.2, 0.6, 0.5, 0.4, 0.9], "area": 0.1})
    assert located(rows, ("Edema",))["inside"].tolist() == [0.2, 0.6]
    assert located(rows.iloc[:0], ("Edema",)).empty


def test_failures_are_the_clearest_first_and_say_of_how_many():
    rows = table([0.9, 0.1, 0.3, 0.2, 0.8, 0.7, 0.4], [1, 1, 1, 1, 0, 0, None])
    (found,) = failures(rows, ("Edema",), each=2)
    assert [id for id, _ in found.missed] == ["i1", "i3"] and found.missed_of == 3 and found.present == 4
    assert [id for id, _ in found.alarms] == ["i4", "i5"] and found.alarms_of == 2 and found.absent == 2


def test_best_and_worst_are_the_ends_of_the_cross_entropy_among_images_with_a_finding():
    rows = pd.concat([table([0.9, 0.6, 0.2, 0.01], [1, 1, 1, 0]),
                      table([0.1, 0.1, 0.1, 0.01], [0, 0, None, 0]).assign(finding="Effusion")])
    best, worst = best_and_worst(rows, each=1)
    assert [e.id for e in best] == ["i0"] and [e.id for e in worst] == ["i2"]  # i3 has no finding
    assert f"{-(np.log(0.9) + np.log(0.9)) / 2:.3f}" in best[0].why


def test_located_extremes_are_the_best_of_every_finding_then_the_worst():
    rows = pd.DataFrame({"id": list("abcd"), "finding": ["Edema"] * 3 + ["Effusion"], "called": True,
                         "inside": [0.3, 0.9, 0.1, 0.5], "area": 0.1})
    assert located_extremes(rows, ("Edema", "Effusion"))["id"].tolist() == ["b", "c"]
