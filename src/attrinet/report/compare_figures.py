"""Figures 7, 8 and 10 to 17 of the paper, of the runs given: every function returns the figure and its caption.

A function raises AttrinetError, saying what would be needed, where the methods given cannot make its figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from attrinet.data.shortcut import tag_region, tagged_with
from attrinet.errors import AttrinetError
from attrinet.metrics.class_sensitivity import class_sensitivity
from attrinet.metrics.confounder_sensitivity import confounder_sensitivity
from attrinet.report.compare_drawing import KNOWN, PLAIN, WRONG, Tile, draw
from attrinet.report.compare_runs import LOSS_SETS, Method
from attrinet.report.compare_scene import CHOICE, Scene
from attrinet.report.compare_tables import ABLATION, EXPLANATIONS, GUIDANCE, in_ablation
from attrinet.report.figures import blend, limit
from attrinet.report.published import published

STRONGEST = "strongest: the 99.8th percentile"
ONE_SCALE = f"positive evidence; 0: none\n{STRONGEST}"
OWN_SCALE = f"positive evidence, each method on its own scale (their units differ)\n{STRONGEST}"
MODEL_SCALE = f"positive evidence, each model on its own scale\n{STRONGEST}"
UNGUIDED = ("none", "mixed", "full", "pseudo-mask", "pseudo-box", "box-only", "mixed-weighted", "weighted")
GUIDED = ("mixed", *UNGUIDED[2:])


def grid_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 7: one of the grids that class sensitivity is measured on."""
    method = scene.attrinet(*UNGUIDED, need="a run of Attri-Net")
    finding, grids = scene.common([method])[0], method.first.grids
    if grids is None:
        raise AttrinetError(f"{method.first.folder}: has no grids.parquet; run attrinet evaluate again")
    grids = grids[grids["finding"] == finding]
    if grids.empty:
        raise AttrinetError(f"needs a true positive and a true negative of {finding}; {method.name} has none")
    predicted = method.first.predictions
    probability = predicted[predicted["finding"] == finding].set_index("id")["probability"]
    surest = grids.iloc[int(np.argmax(probability.loc[grids["id"]]))]
    rows = [scene.rows[surest[name]] for name in ("id", "negative_1", "negative_2", "negative_3")]
    maps = np.stack([scene.evidence(method, row, finding) for row in rows])
    totals, half = maps.sum((1, 2)), limit(maps)
    images = [Tile(scene.image(row), frame=PLAIN if k else WRONG) for k, row in enumerate(rows)]
    shares = totals / totals.sum() if totals.sum() else totals
    evidence = [Tile(blend(scene.image(row), m, half), text=f"{share:.0%} of the evidence", frame=tile.frame)
                for row, m, share, tile in zip(rows, maps, shares, images, strict=True)]
    fig = draw([[*images[k : k + 2], *evidence[k : k + 2]] for k in (0, 2)], ["", ""],
               ["(a) images", "", "(b) evidence", ""], ONE_SCALE)
    score = class_sensitivity(totals[None]).scores[0]
    return fig, (f"A grid that class sensitivity was measured on, for {finding}: of those, the one whose true "
                 f"positive (red) is the most confident, with three true negatives (blue), and the evidence of "
                 f"{said(method)}. Class sensitivity of this grid: "
                 f"{'none, the maps are blank' if np.isnan(score) else f'{score:.3f}'}; chance is 0.25.")


def methods_figure(rank: int) -> Callable[[Scene], tuple[Figure, str]]:
    """Figures 8, 16, 17: all explanations of an example image; rank tells the examples apart."""
    def make(scene: Scene) -> tuple[Figure, str]:
        order = list(EXPLANATIONS)
        shown = [m for m in scene.methods if m.first.explained and not m.first.ablated
                 and (m.first.row in order or m.first.kind != "attrinet" or m.first.unlike_the_paper)]
        shown.sort(key=lambda m: order.index(m.first.row) if m.first.row in order else -1)
        if not shown:
            raise AttrinetError("needs an evaluated explanation")
        taken: list[tuple[str, str]] = []
        for finding in scene.common(shown) * (rank + 1):
            id = scene.choose(shown, finding, besides=[other for other, _ in taken])
            taken += [(id, finding)] if id else []
        if len(taken) <= rank:
            raise AttrinetError(f"needs {rank + 1} images with a finding; the test images have {len(taken)}")
        return methods_picture(scene, shown, *taken[rank])

    return make


def methods_picture(scene: Scene, shown: Sequence[Method], id: str, finding: str) -> tuple[Figure, str]:
    row, findings = scene.rows[id], scene.findings
    image, present = scene.image(row), []
    top = []
    for name in findings:
        mask, label = scene.known(row, name), scene.store.labels[row, scene.store.findings.index(name)]
        present += [name] if label == 1 else []
        top.append(Tile(image, outline=mask, text={1: "present", 0: "absent"}.get(label, "unknown")))
    rows, names, failed = [top], ["image"], []
    for method in shown:
        known = [f for f in findings if f in method.first.findings]
        try:
            maps = {f: scene.evidence(method, row, f) for f in known}
        except AttrinetError as error:
            failed.append(f"{method.name} is not shown: {error}.")
            continue
        half, tiles = limit(np.stack(list(maps.values()))), []
        for name in findings:
            if name in maps:
                p, threshold, wrong = scene.verdict(method, id, name)
                tiles.append(Tile(blend(image, maps[name], half), text=f"{p:.2f} ({threshold:.2f})",
                                  frame=WRONG if wrong else ""))
            else:
                tiles.append(None)
        rows.append(tiles)
        names.append(two_lines(method.name))
    caption = (f"Explanations of image {id}, which has {', '.join(present)}. Numbers: probability (decision "
               f"threshold); red frames: wrong predictions; green: known lesions. {CHOICE}; here for {finding}. Seeds: "
               + ", ".join(f"{m.name} {m.first.seed}" for m in shown) + ". " + " ".join(failed))
    return draw(rows, names, findings, OWN_SCALE), caption.strip()


def guided_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 10: the same images without and with guidance, beside the known lesions."""
    plain = scene.attrinet("none", need="a run of Attri-Net without guidance")
    guided = scene.attrinet(*GUIDED, need="a run of Attri-Net with guidance")
    columns = located_columns(scene, (plain, guided))
    rows = [[Tile(scene.image(r), outline=scene.known(r, f)) for f, r in columns]]
    for method in (plain, guided):
        rows.append(located_tiles(scene, method, columns))
    fig = draw(rows, ["image", two_lines(plain.name), two_lines(guided.name)], [f for f, _ in columns], MODEL_SCALE)
    return fig, (f"Evidence of {said(plain)} and of {said(guided)}; known lesions in green, and the share of the "
                 f"evidence inside them. {CHOICE}; only annotated images.")


def located_columns(scene: Scene, methods: Sequence[Method]) -> list[tuple[str, int]]:
    """(finding, image row) of every finding that has an annotated test image."""
    common = scene.common(methods)
    chosen = [(f, scene.choose(methods, f, annotated=True)) for f in scene.findings if f in common]
    columns = [(f, scene.rows[id]) for f, id in chosen if id is not None]
    if not columns:
        raise AttrinetError("needs annotated test images (boxes or masks in the store)")
    return columns


def located_tiles(scene: Scene, method: Method, columns: Sequence[tuple[str, int]], frame: str = "") -> list[Tile]:
    """Evidence over images with the share inside the known lesion; one scale, so that tiles can be compared."""
    maps = [scene.evidence(method, row, finding) for finding, row in columns]
    half, tiles = limit(np.stack(maps)), []
    for (finding, row), values in zip(columns, maps, strict=True):
        mask, total = scene.known(row, finding), values.sum()
        text = f"{values[mask].sum() / total:.0%} inside" if total > 0 else "no evidence"
        tiles.append(Tile(blend(scene.image(row), values, half), outline=mask, text=text, frame=frame))
    return tiles


def centers_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 11: what models trained on tagged images have learned, without and with guidance away from the tag."""
    tag, region = tagged_with(scene.store), tag_region(scene.store)
    need = ("runs of Attri-Net on a store of `attrinet prepare shortcut` whose tag has one place, without guidance and "
            "with guidance.mode=shortcut")
    if tag is None or region is None:
        raise AttrinetError(f"needs {need}")
    tagged, mask = scene.store.meta["options"]["finding"], tag.mask(scene.store.size, 0)
    whole = [m for m in scene.attrinets() if not m.first.ablated and tagged in m.first.findings]
    methods = [next(m for m in whole if m.first.mode == mode) for mode in ("none", "shortcut")
               if any(m.first.mode == mode for m in whole)]
    if not methods:
        raise AttrinetError(f"needs {need}")
    learned = [scene.load(m.first)[0].global_explanation() for m in methods]
    rows, names, titles, scores = [], [], [], []
    for method, out, letter in zip(methods, learned, "ab", strict=False):
        titles += [f"({letter}) positive centre", "negative centre", "weights"]
        center = out.positive_center[out.findings.index(tagged)].cpu().numpy()
        theirs = published("figure11", scene.dataset, method.first.mode, "confounder_sensitivity", tagged)
        scores.append(f"({letter}) {said(method)}: {confounder_sensitivity(center, mask):.3f}"
                      + (f" (published: {theirs.value})" if theirs else ""))
    halves = [limit(np.stack([o.positive_center.cpu(), o.negative_center.cpu()])) for o in learned]
    for finding in [f for f in learned[0].findings if all(f in out.findings for out in learned)]:
        tiles, color = [], WRONG if finding == tagged else KNOWN
        for out, half in zip(learned, halves, strict=True):
            c = out.findings.index(finding)
            for values in (out.positive_center[c], out.negative_center[c]):
                tiles.append(Tile(values.cpu().numpy(), half, box=region, box_color=color))
            weights = out.weights[c].cpu().numpy()
            tiles.append(Tile(weights, limit(out.weights.cpu().numpy(), 100)))
        rows.append(tiles)
        names.append(finding)
    fig = draw(rows, names, titles, "red: raised, blue: lowered; centres and weights of a model each on one scale\n"
               f"{STRONGEST} of a centre, the largest weight", ("−strongest", "0", "+strongest"), -1.0)
    return fig, (f"Class centres and classifier weights of models trained with the tag {tag.text!r} on images with "
                 f"{tagged}; boxes: where the tag is, red for {tagged}, green for the others. Confounder sensitivity, "
                 f"the share of the tag among the 10 % strongest pixels of the positive centre of {tagged}: "
                 f"{'; '.join(scores)}. Chance is 0.1.")


def ablation_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 12: attribution maps under more and more losses."""
    methods = [m for m in scene.attrinets() if in_ablation(m.first)]
    methods = [next(m for m in methods if m.first.loss_set == row) for row in LOSS_SETS
               if any(m.first.loss_set == row for m in methods)]
    if not any(m.first.ablated for m in methods):
        raise AttrinetError("needs runs of Attri-Net with losses left out (configs/ablation_*.yaml)")
    finding, rows, names = scene.common(methods)[0], [], []
    for present, label in ((True, f"with\n{finding}"), (False, f"without\n{finding}")):
        id = scene.choose(methods, finding, present)
        if id is not None:
            rows.append(scene.rows[id])
            names.append(label)
    maps = {m: [scene.explained(m, r).attribution[0, m.first.findings.index(finding)].cpu().numpy() for r in rows]
            for m in methods}
    halves = {m: limit(np.stack(values)) for m, values in maps.items()}
    tiles = [[Tile(scene.image(r)), *(Tile(maps[m][k], halves[m]) for m in methods)] for k, r in enumerate(rows)]
    titles = ["image", *(f"{ABLATION[m.first.loss_set]}\n±{halves[m]:.2g}" for m in methods)]
    fig = draw(tiles, names, titles, f"attribution map M(x), change of grey level\n{STRONGEST}, ± over a column",
               ("−strongest", "0", "+strongest"), -1.0)
    return fig, (f"Attribution maps M(x) for {finding} of models trained with more and more losses, left to right: "
                 + "; ".join(said(m) for m in methods) + f". {CHOICE}; without it, the lowest mean probability.")


def counterfactual_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 13: images with and without a finding, their attribution maps and counterfactuals."""
    method = scene.attrinet(*UNGUIDED, need="a run of Attri-Net")
    findings = [f for f in scene.findings if f in method.first.findings]
    shown = []
    for present in (True, False):
        for finding in findings:
            id = scene.choose([method], finding, present)
            out = scene.explained(method, scene.rows[id]) if id else None
            shown.append((present, finding, scene.rows[id] if id else None, out))
    values = [out.attribution[0, method.first.findings.index(f)].cpu().numpy() for _, f, _, out in shown if out]
    if not values:
        raise AttrinetError("needs test images with known labels")
    half, rows = limit(np.stack(values)), []
    for present, color in ((True, WRONG), (False, PLAIN)):
        part = [[None] * 3 if out is None else counterfactual_tiles(scene.image(row), out, method, f, half, color)
                for on, f, row, out in shown if on == present]
        rows += [list(line) for line in zip(*part, strict=True)]
    fig = draw(rows, ["image", "M(x)", "x + M(x)"] * 2, findings, "attribution map M(x), change of grey level",
               (f"−{half:.2g}", "0", f"+{half:.2g}"), -1.0)
    return fig, (f"Counterfactuals of {said(method)}: top (red) images with the finding of the column, bottom (blue) "
                 f"images without it. {CHOICE}; without it, the lowest mean probability.")


def counterfactual_tiles(image, out, method: Method, finding: str, half: float, color: str) -> list[Tile]:
    c = method.first.findings.index(finding)
    maps, changed = (x[0, c].cpu().numpy() for x in (out.attribution, out.counterfactual))
    return [Tile(image, frame=color, text=f"p = {float(out.probabilities[0, c]):.2f}"), Tile(maps, half, frame=color),
            Tile(changed, frame=color)]


def masks_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 14: guidance masks made of the training annotations."""
    modes = {"weighted": "weighted\npseudo mask", "pseudo-box": "pseudo box"}
    method = next((m for m in scene.attrinets() if m.first.mode != "none"), scene.methods[0])
    masks = {mode: scene.masks(method.first, scene.store, mode) for mode in modes}
    rows = [[Tile(mask, 1.0) for mask in masks[mode]] for mode in modes]
    fig = draw(rows, list(modes.values()), method.first.findings,
               "share of the annotations that cover a pixel, largest = 1; a box is 1 inside", ("0", "0", "1"))
    many = (f"of the training annotations, as many as {said(method)} had for guidance" if method.first.mode != "none"
            else "of all training annotations; none of these runs was guided")
    return fig, (f"Weighted pseudo masks and pseudo boxes {many}; a finding without annotations has the centred "
                 "square.")


def guidance_figure(scene: Scene) -> tuple[Figure, str]:
    """Figure 15: the same images under different kinds of guidance."""
    known = [m for mode in GUIDANCE for m in scene.attrinets() if m.first.mode == mode and not m.first.ablated]
    others = [m for m in scene.attrinets() if m not in known and not m.first.ablated]
    methods = [*known, *others]
    if len({m.first.mode for m in methods}) < 2:
        raise AttrinetError("needs runs of Attri-Net with different guidance.mode")
    samples = located_columns(scene, methods)
    columns = [located_tiles(scene, m, samples, WRONG if m.first.mode == "mixed" else "") for m in methods]
    rows = [[Tile(scene.image(row), outline=scene.known(row, f)), *(tiles[k] for tiles in columns)]
            for k, (f, row) in enumerate(samples)]
    titles = ["image", *(GUIDANCE.get(m.first.mode, m.first.mode) for m in methods)]
    fig = draw(rows, [f for f, _ in samples], titles, MODEL_SCALE)
    return fig, ("Evidence under different kinds of guidance, known lesions in green and the share of the evidence "
                 f"inside them; red frames: mode mixed, the paper's choice. {CHOICE}; only annotated images. "
                 + "; ".join(said(m) for m in methods) + ".")


FIGURES: dict[int, tuple[str, Callable[[Scene], tuple[Figure, str]]]] = {
    7: ("A grid of the class sensitivity metric", grid_figure),
    8: ("All explanations of an example image", methods_figure(0)),
    10: ("Explanations without and with guidance", guided_figure),
    11: ("Class centres of models trained on a shortcut", centers_figure),
    12: ("Attribution maps of the ablation", ablation_figure),
    13: ("Counterfactual images", counterfactual_figure),
    14: ("Weighted pseudo masks and pseudo boxes", masks_figure),
    15: ("Explanations under different kinds of guidance", guidance_figure),
    16: ("All explanations of a second image (the paper's is of CheXpert)", methods_figure(1)),
    17: ("All explanations of a third image (the paper's is of VinDr-CXR)", methods_figure(2)),
}
ON_SHORTCUT = (11,)  # the others are drawn of stores without a planted tag


def said(method: Method) -> str:
    return f"{method.name} (seed {method.first.seed})"


def two_lines(name: str) -> str:
    """A row's name, broken where it reads best."""
    return name.replace(" of ", "\nof ").replace(", ", ",\n")

