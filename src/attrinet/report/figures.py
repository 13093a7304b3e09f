"""Pictures: maps over images, class centres, curves. Every colour bar is symmetric around 0 and says its unit."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from attrinet.nets.attrinet import Explanation, GlobalExplanation

SIGNED = "RdBu_r"  # red: for the finding; blue: against it
FOR, INK, LESION = "#b2182b", "#1d2733", "#2fbf4f"
COLORS = ("#3b6fb6", "#d1662c", "#3f8f5f", "#8e5aa8", "#b08a1e", "#4b9aa5", "#a5536b", "#6b7785")
LINES, MARKERS = ("-", "--", ":", "-."), "os^D"  # another for every round of colours
CELL = 2.05  # inches a picture
WITHIN = 6  # findings, of names that fit above a picture, whose legend leaves curves free
FOLD = 24  # characters of a caption that fit above a picture
ATTRIBUTION_UNIT = "change of grey level\n(image: −1 … 1)"
CONTRIBUTION_UNIT = "logit / pixel × 10⁻³"


def literal(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Names in the figure are not formulas, though they may hold a dollar sign; other figures' texts stay theirs."""

    @wraps(draw)
    def drawn(*args, **options) -> Figure:
        fig = draw(*args, **options)
        for text in fig.findobj(Text):
            text.set_parse_math(False)
        return fig

    return drawn


def limit(values: np.ndarray, share: float = 99.8) -> float:
    """Half-width of a symmetric colour range: a high percentile of |values|, so that one pixel does not set it."""
    return max(float(np.percentile(np.abs(values), share)), 1e-6)


def blend(image: np.ndarray, values: np.ndarray, half: float) -> np.ndarray:
    """(H, W) image in [-1, 1] under signed values: (H, W, 3). Where the value is 0 the image shows unchanged."""
    from matplotlib import colormaps

    grey = np.repeat(((image + 1) / 2)[..., None], 3, axis=2)
    scaled = np.clip(values / half, -1, 1)
    color = colormaps[SIGNED](0.5 + scaled / 2)[..., :3]
    strength = (np.abs(scaled) ** 0.7 * 0.85)[..., None]
    return np.clip(grey * (1 - strength) + color * strength, 0, 1)


def figure(columns: float, rows: float, extra_width: float = 0.0, extra_height: float = 0.0) -> Figure:
    return Figure(figsize=(columns * CELL + extra_width, rows * CELL + extra_height), dpi=110, layout="constrained")


def lines_figure(columns: int, lines: int) -> Figure:
    """Room for pictures, a line a finding, with titles above and colour bars below."""
    return figure(columns, lines, extra_width=1.1, extra_height=1.15 if lines == 1 else 0.85)


def bare(axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def color_bar(fig: Figure, axes, half: float, unit: str, aspect: float = 22) -> None:
    bar = fig.colorbar(ScalarMappable(Normalize(-half, half), SIGNED), ax=axes, location="bottom", shrink=0.86,
                       aspect=aspect, pad=0.02)
    bar.set_label(unit, fontsize=7.5, color=INK)
    bar.set_ticks([-half, 0, half], labels=[f"−{half:.2g}", "0", f"+{half:.2g}"])
    bar.ax.tick_params(labelsize=7.5, length=2)
    bar.outline.set_visible(False)


@literal
def explanation_figure(
    image: np.ndarray, out: Explanation, row: int, findings: Sequence[int],
    masks: Mapping[int, np.ndarray] | None = None,
) -> Figure:
    """One image explained: a line a finding with the evidence over the image, M_c(x), and the counterfactual.

    image: (H, W) in [-1, 1]. row: its place in the batch `out`. findings: which to draw. masks: finding → (H, W) bool
    known lesion, outlined. Colour ranges are the same in all lines, so lines can be compared.
    """
    masks = masks or {}
    maps = out.attribution[row].cpu().numpy()
    contributions = out.contributions[row].cpu().numpy() * 1e3
    counterfactuals = out.counterfactual[row].cpu().numpy()
    half_c, half_m = limit(contributions[list(findings)]), limit(maps[list(findings)])
    fig = lines_figure(4, len(findings))
    grid = fig.subplots(len(findings), 4, squeeze=False)
    titles = ("image", "contributions to the logit", "attribution map M(x)", "counterfactual x + M(x)")
    for line, c in zip(grid, findings, strict=True):
        pictures = (image, blend(image, contributions[c], half_c), None, counterfactuals[c])
        for k, axes in enumerate(line):
            if k == 2:
                axes.imshow(maps[c], cmap=SIGNED, vmin=-half_m, vmax=half_m, interpolation="nearest")
            else:
                axes.imshow(pictures[k], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            if c in masks and k < 2:
                axes.contour(masks[c], levels=[0.5], colors=LESION, linewidths=1.2)
            bare(axes)
        name_line(line[0], out, row, c)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9, color=INK)
    color_bar(fig, grid[:, 1], half_c, CONTRIBUTION_UNIT)
    color_bar(fig, grid[:, 2], half_m, ATTRIBUTION_UNIT)
    for k in (0, 3):
        grey = fig.colorbar(ScalarMappable(Normalize(-1, 1), "gray"), ax=grid[:, k], location="bottom", shrink=0.86,
                            aspect=22, pad=0.02)
        grey.set_label("grey level", fontsize=7.5, color=INK)
        grey.set_ticks([-1, 0, 1], labels=["−1", "0", "+1"])
        grey.ax.tick_params(labelsize=7.5, length=2)
        grey.outline.set_visible(False)
    return fig


@literal
def contributions_figure(image: np.ndarray, out, row: int, findings: Sequence[int]) -> Figure:
    """One image and its contributions, a line a finding, where a model has no counterfactual (B-cos).

    image: (H, W) in [-1, 1]. row: its place in the batch `out`. The colour range is the same in all lines.
    """
    contributions = out.contributions[row].cpu().numpy() * 1e3
    half = limit(contributions[list(findings)])
    fig = lines_figure(2, len(findings))
    grid = fig.subplots(len(findings), 2, squeeze=False)
    for line, c in zip(grid, findings, strict=True):
        for axes, picture in zip(line, (image, blend(image, contributions[c], half)), strict=True):
            axes.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            bare(axes)
        name_line(line[0], out, row, c)
    for axes, title in zip(grid[0], ("image", "contributions to the logit"), strict=True):
        axes.set_title(title, fontsize=9, color=INK)
    color_bar(fig, grid[:, 1], half, CONTRIBUTION_UNIT)
    return fig


def name_line(axes, out, row: int, finding: int) -> None:
    """Finding, probability and threshold beside a line; bold and red where it is called."""
    p, t = float(out.probabilities[row, finding]), float(out.thresholds[finding])
    called = p >= t
    axes.set_ylabel(
        folded(f"{out.findings[finding]}\np = {p:.2f} {'≥' if called else '<'} {t:.2f}"), fontsize=8.5,
        color=FOR if called else INK, fontweight="bold" if called else "normal",
    )


@literal
def global_figure(explanation: GlobalExplanation, marks: Mapping[str, tuple[int, int]] | None = None) -> Figure:
    """Class centres and classifier weights of every finding (Fig. 5).

    marks: finding → (row, column) of its positive centre to ring, as a place that is suspicious.
    """
    positive = explanation.positive_center.cpu().numpy()
    negative = explanation.negative_center.cpu().numpy()
    weights = explanation.weights.cpu().numpy()
    count = len(explanation.findings)
    half, half_w = limit(np.stack([positive, negative])), limit(weights, 100)
    fig = lines_figure(3, count)
    grid = fig.subplots(count, 3, squeeze=False)
    for c, line in enumerate(grid):
        for axes, values, h in zip(line, (positive[c], negative[c], weights[c]), (half, half, half_w), strict=True):
            axes.imshow(values, cmap=SIGNED, vmin=-h, vmax=h, interpolation="nearest")
            bare(axes)
        line[0].set_ylabel(folded(explanation.findings[c]), fontsize=8.5, color=INK)
        if explanation.findings[c] in (marks or {}):
            row, column = marks[explanation.findings[c]]
            line[0].plot(column, row, "o", markersize=30, markerfacecolor="none", markeredgecolor=INK)
            line[0].set_xlabel("ringed: repeats between patients", fontsize=7.5, color=INK)
    for axes, title in zip(grid[0], ("positive class centre", "negative class centre", "classifier weights"),
                           strict=True):
        axes.set_title(title, fontsize=9, color=INK)
    color_bar(fig, grid[:, :2], half, ATTRIBUTION_UNIT.replace("\n", " "))
    color_bar(fig, grid[:, 2], half_w, "logit / mean change in a cell")
    return fig


@literal
def evidence_figure(
    images: np.ndarray, evidence: np.ndarray, masks: np.ndarray, captions: Sequence[str], columns: int = 5
) -> Figure:
    """Evidence against known lesions (outlined): images, evidence, masks (B, H, W), `columns` of them a line."""
    lines = -(-len(images) // columns)
    captions = [folded(caption) for caption in captions]
    fig = figure(columns, 2 * lines, extra_width=0.2, extra_height=0.75 + 0.15 * lines * most_lines(captions))
    fig.get_layout_engine().set(h_pad=0.07)  # inches; at its own 0.04 the first captions reach over the edge
    grid = fig.subplots(2 * lines, columns, squeeze=False)
    evidence = evidence * 1e3
    half = limit(evidence)
    for axes in grid.flat:
        bare(axes)
    for k in range(len(images)):
        above, below = grid[2 * (k // columns), k % columns], grid[2 * (k // columns) + 1, k % columns]
        above.imshow(images[k], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        below.imshow(blend(images[k], evidence[k], half), interpolation="nearest")
        above.set_title(captions[k], fontsize=8.5, color=INK)
        for axes in (above, below):
            axes.contour(masks[k], levels=[0.5], colors=LESION, linewidths=1.2)
    color_bar(fig, grid[-1, :], half, "evidence: " + CONTRIBUTION_UNIT)
    return fig


@literal
def cases_figure(
    images: np.ndarray, contributions: np.ndarray | None, masks: Sequence[np.ndarray | None], captions: Sequence[str],
    columns: int = 5,
) -> Figure:
    """Cases in one line, below each the contributions to one logit where there are any; known lesions outlined.

    images: (B, H, W) in [-1, 1]. contributions: (B, H, W) or None, on one colour range. columns: room in the line.
    One set of axes for all: a report draws many of these, and axes are what takes time.
    """
    stacked, size = (1 if contributions is None else 2), images.shape[-1]
    pitch = size + max(size // 24, 1)  # a case and the gap beside it
    canvas = np.ones((pitch * stacked, pitch * columns, 3))
    half = None if contributions is None else limit(contributions * 1e3)
    outline = np.zeros(canvas.shape[:2], bool)
    for k, image in enumerate(images):
        layers = [np.repeat(((image + 1) / 2)[..., None], 3, 2)]
        if half is not None:
            layers.append(blend(image, contributions[k] * 1e3, half))
        for line, layer in enumerate(layers):
            place = np.s_[line * pitch : line * pitch + size, k * pitch : k * pitch + size]
            canvas[place] = layer
            if masks[k] is not None:
                outline[place] = masks[k]
    captions = [folded(caption) for caption in captions]
    above = 0.1 + 0.22 * most_lines(captions)
    fig = figure(columns, stacked, extra_height=above + (0.55 if stacked == 2 else 0))
    axes = fig.subplots()
    axes.imshow(canvas, interpolation="nearest")
    if outline.any():
        axes.contour(outline, levels=[0.5], colors=LESION, linewidths=1.2)
    for k, caption in enumerate(captions):
        axes.text(k * pitch + size / 2, -0.03 * size, caption, ha="center", va="bottom", fontsize=8.5, color=INK)
    bare(axes)
    if half is not None:
        color_bar(fig, axes, half, CONTRIBUTION_UNIT, aspect=60)
    return fig


def most_lines(captions: Sequence[str]) -> int:
    """Of the longest of some folded captions."""
    return max(caption.count("\n") + 1 for caption in captions)


def folded(caption: str) -> str:
    """Long lines, as ids of 32 digits, broken behind the last _ or blank that leaves a line short enough, if any."""
    lines = []
    for line in caption.split("\n"):
        while len(line) > FOLD:
            cut = max(line.rfind(mark, 0, FOLD) for mark in "_ ") + 1 or FOLD
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return "\n".join(lines)


@literal
def roc_figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], labels: Mapping[str, str]) -> Figure:
    """ROC curves: finding → (false positive rate, true positive rate); labels: finding → legend text."""
    fig = Figure(figsize=(4.6, 4.3), layout="constrained")
    axes = fig.subplots()
    axes.plot([0, 1], [0, 1], color="#c6ccd3", linewidth=1, linestyle="--")
    for (name, (fpr, tpr)), style in zip(curves.items(), styles(len(curves)), strict=True):
        axes.plot(fpr, tpr, linewidth=1.6, label=labels[name], **style)
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(fontsize=7.5, loc="lower right", frameon=False)
    tidy(axes)
    return fig


@literal
def intervals_figure(rows: Sequence[tuple[str, float, float, float]], label: str, chance: float) -> Figure:
    """Values with their intervals, one line each: (name, value, low, high)."""
    fig = Figure(figsize=(4.6, 0.36 * len(rows) + 0.9), layout="constrained")
    axes = fig.subplots()
    axes.axvline(chance, color="#c6ccd3", linewidth=1, linestyle="--")
    for k, (_, value, low, high) in enumerate(rows):
        axes.plot([low, high], [k, k], color=COLORS[0], linewidth=2, solid_capstyle="round")
        axes.plot(value, k, "o", color=COLORS[0], markersize=5.5)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    tidy(axes)
    return fig


@literal
def training_figure(train: Sequence[dict], valid: Sequence[dict]) -> Figure:
    """Validation AUC and cross-entropies over training steps, from the records of metrics.jsonl."""
    findings = list(valid[-1]["auc"]) if valid else []
    crowded = len(findings) > WITHIN or max(map(len, findings), default=0) > FOLD
    columns = legend_columns(findings, 140) if crowded else 1
    below = 0.25 + 0.16 * -(-(len(findings) + 1) // columns) if crowded else 0
    fig = Figure(figsize=(9.2, 2.9 + below), layout="constrained")
    left, right = fig.subplots(1, 2)
    for name, style in zip(findings, styles(len(findings)), strict=True):
        points = [(r["step"], r["auc"][name]) for r in valid if r["auc"].get(name) is not None]
        if points:  # none where the validation images do not show both presence and absence
            left.plot(*zip(*points, strict=True), marker=".", linewidth=1.2, label=name, **style)
    left.plot([r["step"] for r in valid], [r["mean_auc"] for r in valid], ".-", color=INK, linewidth=2.2, label="mean")
    steps = "steps" if any("model/classification" in r for r in train) else "generator steps"
    left.set(xlabel=steps, ylabel="validation AUC")
    if crowded:
        fig.legend(*left.get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center",
                   ncols=columns, title="validation AUC", title_fontsize=7.5)
    else:
        left.legend(fontsize=7, frameon=False, loc="lower right")
    names = {"generator/classification": "classification, before λ", "classifier/loss": "classifiers on fresh maps",
             "model/classification": "classification"}
    for (key, label), color in zip(names.items(), COLORS, strict=False):
        points = [(r["step"], r[key]) for r in train if key in r]
        if points:
            right.plot(*zip(*points, strict=True), marked(points), color=color, linewidth=1.4, label=label)
    right.set(xlabel=steps, ylabel="cross-entropy, nats")
    right.legend(fontsize=7, frameon=False)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    return fig


def legend_columns(names: Sequence[str], room: int) -> int:
    """How many names fit side by side below a figure that is `room` characters wide; a name's mark takes 8."""
    return max(min(room // (max(map(len, names)) + 8), len(names)), 1)


def marked(points: Sequence) -> str:
    """Format of a line: one point alone would draw nothing."""
    return "-" if len(points) > 1 else "."


def styles(count: int) -> list[dict[str, str]]:
    """Colour and line of so many curves; no two are alike up to 32."""
    return [{"color": COLORS[k % len(COLORS)], "linestyle": LINES[k // len(COLORS) % len(LINES)]}
            for k in range(count)]


def tidy(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, length=3)
    axes.xaxis.label.set_size(8.5)
    axes.yaxis.label.set_size(8.5)


def png(fig: Figure, texts: dict[str, str] | None = None) -> bytes:
    """texts: to keep in the file, unseen."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None, **(texts or {})})
    return buffer.getvalue()


def data_uri(fig: Figure) -> str:
    """The figure inside an HTML page."""
    return "data:image/png;base64," + base64.b64encode(png(fig)).decode()
