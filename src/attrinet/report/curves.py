"""Curves of one or several runs: losses and validation AUC over training, intervals side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from attrinet.report.figures import COLORS, INK, MARKERS, legend_columns, literal, marked, styles, tidy

LOSSES = {
    "critic/loss": "critic, eq. 1", "generator/adversarial": "adversarial, eq. 2",
    "generator/l1": "size of maps, eq. 3", "generator/center": "class centres, eq. 5",
    "generator/guidance": "guidance, eq. 6", "model/guidance": "guidance",
}

LEGEND = 96  # characters that fit side by side below a figure


def losses_figure(train: Sequence[dict]) -> Figure | None:
    """Every other loss of metrics.jsonl over training steps, before its weight λ, an axes each; None without any."""
    found = {key: label for key, label in LOSSES.items() if any(key in r for r in train)}
    if not found:
        return None
    fig = Figure(figsize=(9.2, 2.1 * -(-len(found) // 3)), layout="constrained")
    grid = fig.subplots(-(-len(found) // 3), 3, squeeze=False)
    for axes, (key, label) in zip(grid.flat, found.items(), strict=False):
        points = [(r["step"], r[key]) for r in train if key in r]
        axes.plot(*zip(*points, strict=True), marked(points), color=COLORS[0], linewidth=1.2)
        axes.set_title(label, fontsize=8.5, color=INK)
        axes.set_xlabel("steps")
        tidy(axes)
    for axes in grid.flat[len(found):]:
        axes.set_visible(False)
    return fig


@literal
def curves_figure(curves: Mapping[str, Sequence[tuple[int, float]]], label: str) -> Figure:
    """Lines over training steps, one a run: name → (step, value)."""
    fig = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = fig.subplots()
    for (name, points), style in zip(curves.items(), styles(len(curves)), strict=True):
        axes.plot(*zip(*points, strict=True), linewidth=1.6, marker=".", label=name, **style)
    axes.set(xlabel="steps", ylabel=label)
    axes.legend(fontsize=7.5, frameon=False)
    tidy(axes)
    return fig


@literal
def grouped_intervals_figure(
    groups: Sequence[str], runs: Mapping[str, Sequence[tuple[float, float, float]]], label: str, chance: float
) -> Figure:
    """Values with intervals, a line a run within each group: run → (value, low, high) in the order of `groups`."""
    step = 0.17
    beside = legend_columns(list(runs), LEGEND)
    height = len(groups) * (0.2 + step * len(runs)) + 0.8 + 0.16 * -(-len(runs) // beside)
    fig = Figure(figsize=(6.4, height), layout="constrained")
    axes = fig.subplots()
    axes.axvline(chance, color="#c6ccd3", linewidth=1, linestyle="--")
    height = 1 + step * len(runs)
    for n, (name, values) in enumerate(runs.items()):
        color, marker = COLORS[n % len(COLORS)], MARKERS[n // len(COLORS) % len(MARKERS)]
        for k, (value, low, high) in enumerate(values):
            y = k * height + n * step
            axes.plot([low, high], [y, y], color=color, linewidth=2, solid_capstyle="round")
            axes.plot(value, y, marker, color=color, markersize=4.5, label=name if k == 0 else None)
    axes.set_yticks([k * height + step * (len(runs) - 1) / 2 for k in range(len(groups))], groups)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    fig.legend(fontsize=7.5, frameon=False, loc="outside lower center", ncols=beside)
    tidy(axes)
    return fig
