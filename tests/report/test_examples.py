"""Examples are chosen by rule, not by looks."""

import pandas as pd

from attrinet.report.examples import choose, located


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
