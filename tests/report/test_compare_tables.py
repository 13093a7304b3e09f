"""Tables hold what was judged where the paper has it, seeds together, and published numbers only where they belong."""

import csv
import html
import re
from pathlib import Path

import pytest

from attrinet.errors import AttrinetError
from attrinet.report.compare_runs import methods_by_test
from attrinet.report.compare_tables import tables
from attrinet.report.compare_write import markdown, write_csv
from comparing import FIVE, interval, judged


def together(*evaluations):
    (methods,) = methods_by_test(evaluations).values()
    return methods


def table(number, *evaluations, dataset=None):
    return next(t for t in tables(together(*evaluations), dataset) if t.number == number)


def line_of(text, name):
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


def test_runs_that_differ_only_in_seed_and_store_path_are_one_method_with_mean_smallest_and_largest(tmp_path):
    runs = [judged(0.80, seed=2, data__store="a"), judged(0.84, seed=0, data__store="b"), judged(0.85, seed=1)]
    (method,) = together(*runs)
    assert [one.seed for one in method.seeds] == [0, 1, 2]
    auc = table(2, *runs)
    assert line_of(markdown(auc, None), "Attri-Net") == ["0.830 (0.800 … 0.850, 3 seeds)"]
    write_csv(tmp_path / "t.csv", [("s test", auc)], False)
    rows = [r for r in csv.DictReader((tmp_path / "t.csv").open()) if r["row"] == "Attri-Net"]
    assert [(r["seed"], r["value"], r["low"], r["high"]) for r in rows] == [
        ("0", "0.84", "0.83", "0.85"), ("1", "0.85", "0.84", "0.86"), ("2", "0.8", "0.79", "0.81"),
        ("mean", "0.83", "0.8", "0.85")]
    assert "patients" in rows[0]["low_high_are"] and "seeds" in rows[3]["low_high_are"]


def test_a_seed_given_twice_is_refused_because_it_would_pass_for_two():
    with pytest.raises(AttrinetError, match="has the settings and the seed 0 of runs/"):
        together(judged(), judged())


def test_other_settings_make_another_method_and_its_name_says_which():
    names = [m.name for m in together(judged(), judged(schedule__steps=7), judged(guidance__mode="mixed"))]
    assert names == ["Attri-Net (schedule.steps=100000)", "Attri-Net (schedule.steps=7)", "Attri-Net, guidance mixed"]


def test_evaluations_of_other_images_are_never_in_one_table():
    assert len(methods_by_test([judged(), judged(seed=1, checksum="other")])) == 2
    for other in ({"where": ["Sex=F"]}, {"split": "valid"}, {"truth_checksum": "other"}):
        assert len(methods_by_test([judged(), judged(seed=1, metrics=other)])) == 2


def test_published_numbers_stand_only_beside_runs_of_the_named_dataset():
    text = markdown(table(2, judged()), None)
    assert "published" not in text and "0.873" not in text and "DeepAUC" not in text
    text = markdown(table(2, judged(findings=FIVE), dataset="chexpert"), "chexpert")
    assert line_of(text, "Attri-Net") == ["0.800 [0.790, 0.810]", "0.873"]
    assert line_of(text, "DeepAUC (Yuan et al., 2021)") == ["–", "0.930"] and "LSE" not in text
    text = markdown(table(8, judged(), dataset="chexpert"), "chexpert")
    assert line_of(text, "Attri-Net")[1] == "0.223 ± 0.248" and "not an interval of the mean" in text


def test_guided_and_ablated_models_stand_in_the_paper_s_rows():
    none, off = {"losses__center": 0.0}, {"losses__l1": 0.0, "losses__center": 0.0}
    runs = [judged(auc, findings=FIVE, **settings) for auc, settings in (
        (0.71, off), (0.72, none), (0.73, {}), (0.74, {"guidance__mode": "mixed"}), (0.75, {"guidance__mode": "full"}),
        (0.76, {"guidance__mode": "mixed", "losses__guidance": 0.0}))]
    ablation = [row.cells[0].mean if row.method else None for row in table(4, *runs).rows]
    assert ablation == pytest.approx([None, 0.71, 0.72, 0.73, 0.76, 0.74], nan_ok=True)
    guidance = table(6, *runs, dataset="chestxray8")
    values = {row.method.first.mode: row.cells[0] for row in guidance.rows if row.method}
    assert values["mixed"].published.value == "0.774" and values["full"].published is None
    shown = [row.method.name for row in table(2, *runs).rows if row.method]
    assert not any("without" in name for name in shown) and len(shown) == 4


def test_post_hoc_rows_are_the_resnet_s_and_its_own_evaluation_gives_the_auc():
    kind = {"model__kind": "resnet50", "run": Path("runs/resnet")}
    runs = [judged(0.81, explainer="gradcam", **kind), judged(0.82, **kind),
            judged(0.83, explainer="gradcam", model__kind="bcos_resnet50")]
    auc = {row.name: row.cells[0].mean for row in table(2, *runs).rows if row.method}
    assert auc["ResNet50"] == 0.82 and len(auc) == 2
    explained = table(7, *runs, dataset="chexpert").rows
    (cell,) = [row.cells[0] for row in explained if row.method and row.method.first is runs[0]]
    assert cell.published.value == "0.189"
    (cell,) = [row.cells[0] for row in explained if row.method and row.method.first is runs[2]]
    assert cell.published is None


def test_networks_that_the_paper_does_not_have_stand_in_rows_of_their_own_beside_no_published_number():
    others = [judged(model__kind="resnet50", model__depth=18, findings=FIVE),
              judged(model__kind="bcos_resnet50", model__depth=18, findings=FIVE),
              judged(model__output="difference", findings=FIVE), judged(findings=FIVE),
              judged(model__output="difference", guidance__mode="mixed", findings=FIVE)]
    found = table(2, *others, dataset="chexpert")
    cells = {row.name: row.cells[0] for row in found.rows if row.method}
    assert {name for name, cell in cells.items() if cell.published} == {"Attri-Net (model.output=tanh)"}
    assert set(cells) == {"ResNet18", "B-cos ResNet18", "Attri-Net (model.output=tanh)",
                          "Attri-Net (model.output=difference)", "Attri-Net, guidance mixed"}
    assert "ResNet50" in found.missing and "B-cos ResNet50" in found.missing
    gradcam = judged(explainer="gradcam", model__kind="resnet50", model__depth=18, findings=FIVE)
    (row,) = [row for row in table(3, gradcam, dataset="chexpert").rows if row.method]
    assert not any(cell.published for cell in row.cells)
    assert not [row for row in table(4, *others).rows if row.method and row.method.first.unlike_the_paper]


def test_what_was_not_judged_is_a_dash_and_a_note():
    old = judged(metrics={"disease_sensitivity": {}})
    disease = table(8, old)
    assert line_of(markdown(disease, None), "Attri-Net") == ["–", "–"]
    assert line_of(markdown(disease, None), "SHAP") == ["–", "–"]
    assert any("No run given for: Guided Backprop, Grad-CAM" in note for note in disease.notes)


def test_marks_of_markdown_and_html_in_names_are_shown_and_make_no_cell_of_their_own():
    names = ("Mass | nodule <3 cm", "Effusion & edema", "Pleural_Thickening")
    other = judged(findings=names, schedule__steps=7, metrics={"auc": {names[0]: interval(0.7), "mean": interval(0.7)}})
    text = markdown(table(5, judged(findings=names), other), None)
    head, *lines = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
    assert {len(line) for line in lines} == {len(head)} and "<" not in text
    assert [html.unescape(cell.strip().replace("\\|", "|")) for cell in head[2:5]] == list(names)
    assert head[4].strip() == "Pleural_Thickening"  # as it is
    assert "mean AUC over Mass \\| nodule &lt;3 cm" in text  # in a note


def test_an_evaluation_s_own_interval_of_class_sensitivity_is_used_where_there_is_one():
    one = judged(metrics={"class_sensitivity_interval": {"mean": interval(0.6, 0.1), "Edema": interval(0.7)}})
    assert line_of(markdown(table(3, one), None), "Attri-Net")[0] == "0.600 [0.500, 0.700]"
    assert line_of(markdown(table(7, one), None), "Attri-Net") == ["0.600", "0.700 [0.690, 0.710]"]


def test_disease_sensitivity_and_that_of_scaled_maps_stand_in_columns_of_their_own():
    text = markdown(table(3, judged()), None)
    assert line_of(text, "Model")[1:] == [
        "disease sensitivity", "disease sensitivity, maps min–max scaled as in the authors' code"]
    assert line_of(text, "Attri-Net")[1:] == ["0.300 [0.290, 0.310]", "0.250 [0.240, 0.260]"]


def test_the_paper_s_disease_sensitivity_stands_beside_that_of_maps_scaled_as_in_its_code():
    cells = next(row for row in table(3, judged(findings=FIVE), dataset="chexpert").rows if row.method).cells
    assert cells[1].published is None and cells[2].published.value == "0.207"
    assert "scaled from their smallest" in markdown(table(8, judged(), dataset="chexpert"), "chexpert")


def test_a_mean_over_other_findings_is_said_and_has_no_published_one_beside_it():
    same, other = judged(findings=FIVE), judged(guidance__mode="mixed")
    text = markdown(table(2, same, other, dataset="chexpert"), "chexpert")
    assert line_of(text, "Attri-Net") == ["0.800 [0.790, 0.810]", "0.873"]
    assert line_of(text, "Attri-Net, guidance mixed") == ["0.800 [0.790, 0.810]", "–"]
    assert "- Attri-Net, guidance mixed: mean AUC over Cardiomegaly, Edema." in text
    assert "- Attri-Net: mean AUC over Atelectasis, Cardiomegaly, Consolidation, Edema, Pleural Effusion." in text
    text = markdown(table(2, other, dataset="chexpert"), "chexpert")
    assert "Mean AUC over Cardiomegaly, Edema; the paper's are over other findings" in text
    assert "ean AUC over" not in markdown(table(2, same, dataset="chexpert"), "chexpert")
    assert "ean class sensitivity over" not in markdown(table(7, same, other, dataset="chexpert"), "chexpert")


def located(*findings):
    """metrics of an evaluation where only these of FIVE have annotated images with evidence."""
    inside = {"inside": interval(0.3), "inside_published": interval(0.25)}
    return {"disease_sensitivity": {"annotated": 8, "blank": 0, "all": {f: inside for f in (*findings, "mean")}}}


def test_findings_without_a_value_are_not_passed_over_in_a_mean():
    whole = judged(findings=FIVE)
    partial = judged(findings=FIVE, guidance__mode="mixed", metrics=located("Edema"))
    notes = table(3, whole, partial).notes
    assert "Attri-Net, guidance mixed: mean disease sensitivity over Edema." in notes
    assert f"Attri-Net: mean disease sensitivity over {', '.join(FIVE)}." in notes
    assert not any("mean class sensitivity over" in note for note in notes)  # there they are over the same
    assert "Mean disease sensitivity over Edema." in table(3, partial).notes  # alone it lacks four of its own
    assert not any("ean " in note for note in table(3, whole).notes)


def test_seeds_whose_means_are_over_other_findings_say_so():
    seeds = judged(findings=FIVE, metrics=located("Edema")), judged(findings=FIVE, seed=1, metrics=located(*FIVE))
    said = f"Mean disease sensitivity over Edema (seed 0); {', '.join(FIVE)} (seed 1)."
    assert said in table(3, *seeds).notes


def test_a_published_mean_stands_only_beside_one_over_the_paper_s_findings_of_that_measure():
    def cited(one, dataset):
        return next(row for row in table(3, one, dataset=dataset).rows if row.method).cells

    assert cited(judged(findings=FIVE), "chexpert")[2].published is not None
    partial = cited(judged(findings=FIVE, metrics=located("Edema")), "chexpert")
    assert partial[0].published is not None and partial[2].published is None
    boxes = located("Atelectasis", "Cardiomegaly", "Pleural Effusion")  # all that ChestX-ray8 has boxes of
    assert cited(judged(findings=FIVE, metrics=boxes), "chestxray8")[2].published is not None


def test_a_model_without_the_classification_loss_is_no_attri_net_of_the_paper():
    one = judged(losses__classification=0.0)
    assert one.name == "Attri-Net, without classification loss"
    assert not any(row.method for number in (2, 4) for row in table(number, one, judged()).rows
                   if row.method and row.method.first is one)


def test_maps_without_evidence_are_counted_under_the_table():
    one = judged(metrics={"disease_sensitivity": {"annotated": 8, "blank": 3, "all": {}}})
    assert any("3 of 8 maps have no positive evidence" in note for note in table(3, one).notes)
    grids = {"Cardiomegaly": {"mean": 0.9, "grids": 200, "blank": 150}, "Edema": {"mean": 0.9, "grids": 20, "blank": 1}}
    one = judged(metrics={"class_sensitivity": {**grids, "mean": 0.9}})
    said = "Attri-Net: 151 of 220 grids have no positive evidence and no score (in the paper: 0)."
    assert said in table(7, one).notes and said in table(3, one).notes
    assert not any("no positive evidence" in note for note in table(8, one).notes + table(5, one).notes)


def test_who_was_judged_on_few_images_is_noted_where_explanations_are():
    few, said = judged(metrics={"limit": 4}), "Attri-Net: explanations judged on at most 4 images a finding."
    assert said in table(3, few).notes and said not in table(2, few).notes
    assert not any("at most" in note for note in table(3, judged()).notes)
