"""Figures: symmetric colours, units said, nothing hidden where the value is zero."""

import matplotlib
import numpy as np
import torch
from matplotlib.text import Text

from attrinet.nets.attrinet import AttriNet
from attrinet.report import compare_drawing, curves, figures


def test_a_pixel_without_contribution_shows_the_image_and_signs_show_as_red_and_blue():
    image = np.linspace(-1, 1, 16).reshape(4, 4)
    values = np.zeros((4, 4))
    values[0, 0], values[3, 3] = 1, -1
    rgb = figures.blend(image, values, half=1)
    np.testing.assert_allclose(rgb[1, 2], (image[1, 2] + 1) / 2)
    assert rgb[0, 0, 0] > rgb[0, 0, 2] and rgb[3, 3, 2] > rgb[3, 3, 0]


def test_color_bars_are_symmetric_and_carry_their_unit():
    torch.manual_seed(0)
    model = AttriNet(["a", "b"], 32, width=4)
    x = torch.rand(1, 1, 32, 32) * 2 - 1
    fig = figures.explanation_figure(x[0, 0].numpy(), model.explain(x), 0, [0, 1], {0: np.eye(32, dtype=bool)})
    bars = [axes for axes in fig.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 4
    for bar in bars:
        low, high = bar.get_xlim()
        assert low == -high and bar.get_xlabel()
    assert {bar.get_xlabel() for bar in bars} == {
        "grey level", figures.CONTRIBUTION_UNIT, figures.ATTRIBUTION_UNIT}
    assert figures.png(fig)[:4] == b"\x89PNG"
    assert figures.png(figures.global_figure(model.global_explanation()))[:4] == b"\x89PNG"


def test_titles_are_inside_the_picture_however_few_lines_it_has():
    torch.manual_seed(0)
    model, x = AttriNet(["a", "b"], 32, width=2), torch.zeros(1, 1, 32, 32)
    out, image = model.explain(x), x[0, 0].numpy()
    for shown in ([0], [0, 1]):
        for draw in (figures.explanation_figure, figures.contributions_figure):
            assert_titles_inside(draw(image, out, 0, shown))
    assert_titles_inside(figures.global_figure(AttriNet(["a"], 32, width=2).global_explanation()))


def assert_titles_inside(fig):
    figures.png(fig)  # lays it out
    titles = [axes.title for axes in fig.axes if axes.get_title()]
    tops = [title.get_window_extent().y1 for title in titles]
    assert len(titles) > 1 and max(tops) <= fig.bbox.y1


def test_a_curve_of_one_record_shows_it_and_a_finding_never_judged_has_no_line():
    fig = figures.training_figure([{"step": 3, "classifier/loss": 0.7}],
                                  [{"step": 3, "auc": {"a": 0.6, "b": None}, "mean_auc": 0.6}])
    assert [line.get_label() for line in fig.axes[0].lines] == ["a", "mean"]
    assert all(line.get_marker() == "." for axes in fig.axes for line in axes.lines)


def test_more_examples_than_columns_make_more_lines_and_keep_them_all():
    images = np.zeros((7, 16, 16))
    masks = np.zeros((7, 16, 16), bool)
    masks[:, 4:9, 4:9] = True
    evidence = np.random.default_rng(0).random((7, 16, 16))
    fig = figures.evidence_figure(images, evidence, masks, [str(k) for k in range(7)])
    titles = [axes.get_title() for axes in fig.axes if axes.get_title()]
    assert titles == [str(k) for k in range(7)]


def test_a_dollar_sign_in_a_name_is_no_formula():
    torch.manual_seed(0)
    names = ["A$^$B", "$x", "$Edema$"]
    model, x, line = AttriNet(names, 32, width=2), torch.rand(1, 1, 32, 32) * 2 - 1, (np.array([0, 1]),) * 2
    out, image, blank = model.explain(x), x[0, 0].numpy(), np.zeros((3, 16, 16))
    valid = [{"step": k, "auc": dict.fromkeys(names, 0.6), "mean_auc": 0.6} for k in (1, 2)]
    rows = [(name, 0.7, 0.6, 0.8) for name in names]
    for fig in (
        figures.explanation_figure(image, out, 0, [0, 1, 2]), figures.contributions_figure(image, out, 0, [0, 1, 2]),
        figures.global_figure(model.global_explanation()),
        figures.evidence_figure(blank, blank, np.tile(np.eye(16, dtype=bool), (3, 1, 1)), names),
        figures.cases_figure(blank, None, [None] * 3, names), figures.intervals_figure(rows, "AUC", 0.5),
        figures.roc_figure(dict.fromkeys(names, line), dict(zip(names, names, strict=True))),
        figures.training_figure([{"step": 1, "classifier/loss": 0.7}], valid),
        curves.curves_figure(dict.fromkeys(names, [(1, 0.6), (2, 0.7)]), "AUC"),
        curves.grouped_intervals_figure(names, dict.fromkeys(names, [(0.7, 0.6, 0.8)] * 3), "AUC", 0.5),
        compare_drawing.draw([[compare_drawing.Tile(image)] * 3] * 3, names, names),
    ):
        assert figures.png(fig)[:4] == b"\x89PNG"
        said = [text for text in fig.findobj(Text) if "$" in text.get_text()]
        assert len(said) >= 3 and not any(text.get_parse_math() for text in said)


def test_the_package_s_figures_leave_the_formulas_of_others_alone():
    assert matplotlib.rcParams["text.parse_math"]


def test_long_ids_of_neighbours_do_not_run_into_each_other():
    ids = [f"{k:032x}" for k in range(2)] + ["patient64740_study1_view1_frontal"] * 2 + ["00000181_062"]
    fig = figures.cases_figure(np.zeros((5, 64, 64)), None, [None] * 5, [f"{id}\np = 0.35" for id in ids])
    figures.png(fig)  # lays it out
    boxes = [text.get_window_extent() for text in fig.axes[0].texts]
    assert all(left.x1 < right.x0 for left, right in zip(boxes[:-1], boxes[1:], strict=True))
    assert max(box.y1 for box in boxes) <= fig.bbox.y1 and boxes[0].x0 >= 0 and boxes[-1].x1 <= fig.bbox.x1
    said = [text.get_text().replace("\n", "") for text in fig.axes[0].texts]
    assert said == [f"{id}p = 0.35" for id in ids]


LONG = ("Chronic obstructive pulmonary disease (COPD)", "Interstitial lung disease, fibrotic pattern",
        "Enlarged cardiomediastinal silhouette", "Edema")


def test_long_names_of_findings_stay_beside_their_own_pictures():
    torch.manual_seed(0)
    model, x = AttriNet(LONG, 32, width=2), torch.zeros(1, 1, 32, 32)
    out, image = model.explain(x), x[0, 0].numpy()
    out.thresholds[:2] = 0  # called: in bold
    for fig in (figures.explanation_figure(image, out, 0, range(4)), figures.contributions_figure(image, out, 0, [2]),
                figures.global_figure(model.global_explanation())):
        figures.png(fig)  # lays it out
        boxes = [axes.yaxis.label.get_window_extent() for axes in fig.axes if axes.get_ylabel()]
        assert boxes[0].y1 <= fig.bbox.y1 and boxes[-1].y0 >= 0 and min(box.x0 for box in boxes) >= 0
        assert all(above.y0 > below.y1 for above, below in zip(boxes[:-1], boxes[1:], strict=True))


def test_long_names_of_findings_stay_above_their_own_evidence():
    masks = np.pad(np.ones((4, 6, 6), bool), ((0, 0), (5, 5), (5, 5)))
    captions = [f"{name}\n4% in 5.8% of the area" for name in LONG]
    for shown, columns in ((4, 5), (4, 2), (1, 1)):
        own, said = masks[:shown], captions[:shown]
        fig = figures.evidence_figure(np.zeros(own.shape), own * 1.0, own, said, columns)
        figures.png(fig)  # lays it out
        titles = [axes.title for axes in fig.axes if axes.get_title()]
        assert [title.get_text().replace("\n", "") for title in titles] == [text.replace("\n", "") for text in said]
        boxes = [title.get_window_extent() for title in titles]
        assert min(box.x0 for box in boxes) >= 0 and max(box.y1 for box in boxes) <= fig.bbox.y1
        assert max(box.x1 for box in boxes) <= fig.bbox.x1
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_long_names_of_runs_are_whole_below_the_intervals():
    names = [f"chexpert_attrinet_mixed_guidance_weighted_seed_{k}_long" for k in range(3)] + ["resnet"]
    for shown in (names, [f"run{k}" for k in range(11)]):
        fig = curves.grouped_intervals_figure(["Edema", "mean"], {n: [(0.7, 0.6, 0.8)] * 2 for n in shown}, "AUC", 0.5)
        figures.png(fig)
        (legend,) = fig.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= fig.bbox.x1 and box.y0 >= 0
        assert box.y1 <= fig.axes[0].xaxis.label.get_window_extent().y0
        assert sorted(text.get_text() for text in legend.get_texts()) == sorted(shown)


def test_the_legend_of_many_or_long_names_lies_below_their_curves_and_has_every_name_whole():
    fourteen = [f"Pleural_Thickening {k}" for k in range(14)]
    for names in (fourteen, list(LONG), [*LONG, *fourteen], ["W" * 200] + fourteen[:7]):
        valid = [{"step": k, "auc": dict.fromkeys(names, 0.6), "mean_auc": 0.6} for k in (1, 2)]
        fig = figures.training_figure([{"step": 1, "classifier/loss": 0.7}], valid)
        figures.png(fig)  # lays it out
        (legend,) = fig.legends
        assert [text.get_text() for text in legend.get_texts()] == [*names, "mean"]
        assert legend.get_window_extent().y1 <= min(axes.xaxis.label.get_window_extent().y0 for axes in fig.axes)
        assert legend.get_window_extent().y0 >= 0 and fig.axes[0].get_legend() is None
        assert fig.axes[0].get_window_extent().height > 150
        box = legend.get_window_extent()
        assert len(names[0]) > 100 or (box.x0 >= 0 and box.x1 <= fig.bbox.x1)


def test_no_two_curves_look_alike_however_many_findings_there_are():
    names, line = [f"finding {k}" for k in range(14)], (np.array([0, 1]), np.array([0, 1]))
    valid = [{"step": k, "auc": dict.fromkeys(names, 0.6), "mean_auc": 0.6} for k in (1, 2)]
    drawn = [figures.roc_figure(dict.fromkeys(names, line), dict(zip(names, names, strict=True))),
             figures.training_figure([{"step": 1, "classifier/loss": 0.7}], valid),
             curves.curves_figure(dict.fromkeys(names, [(1, 0.6), (2, 0.7)]), "AUC")]
    for fig in drawn:
        looks = {(own.get_color(), own.get_linestyle()) for own in fig.axes[0].lines if own.get_label() in names}
        assert len(looks) == len(names)
    runs = {name: [(0.7, 0.6, 0.8)] for name in names}
    own = [own for own in curves.grouped_intervals_figure(["mean"], runs, "AUC", 0.5).axes[0].lines
           if own.get_label() in names]
    assert len({(line.get_color(), line.get_marker()) for line in own}) == len(names)
