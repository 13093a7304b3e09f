"""How figures of metrics.json are written for a reader: a dash for what is not known."""

from __future__ import annotations

from collections.abc import Mapping


def number(value: float | None, digits: int = 2, kind: str = "f") -> str:
    return "–" if value is None else f"{value:.{digits}{kind}}"


def interval(value: Mapping | None, digits: int = 2) -> str:
    """0.93 [0.91, 0.95]; no brackets where there are too few patients for bounds, a dash where there is nothing."""
    if value is None:
        return "–"
    if value["value"] is None or value["low"] is None:
        return number(value["value"], digits)
    return f"{number(value['value'], digits)} [{number(value['low'], digits)}, {number(value['high'], digits)}]"
