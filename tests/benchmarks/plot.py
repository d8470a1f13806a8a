"""Draws rows as SVG: bars by driver, and percentiles of latency. Plain text, no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from tests.benchmarks.cases import Row

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 720, 190, 90, 16, 12, 44
COLOURS = ("#2f6f9f", "#b9c3cc", "#e0a458", "#7fa650", "#a06fa8", "#c9605a", "#5fa8a3")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: which group it is in, what it stands for, and how long it is."""

    group: str
    label: str
    value: float


def plots(rows: Sequence[Row]) -> dict[str, str]:
    """Returns the drawings by file name; none where there is nothing to draw."""
    throughput = [bar for row in rows if row.unit == "messages/s" for bar in _rates(row)]
    latency = [
        Bar(row.case.rpartition(", ")[2], row.figure, row.ours)
        for row in rows
        if row.case.startswith("publish to handler")
    ]
    drawings = {
        "throughput.svg": draw("messages per second, one process", throughput, "{:,.0f}"),
        "latency.svg": draw(
            "publish to handler start at 1,000 messages/s, milliseconds", latency, "{:.2g}"
        ),
    }
    return {name: drawing for name, drawing in drawings.items() if drawing}


def draw(title: str, bars: Sequence[Bar], form: str) -> str:
    """Returns horizontal bars on a logarithmic scale, in groups."""
    if not bars:
        return ""
    labels = list(dict.fromkeys(bar.label for bar in bars))
    low = min(bar.value for bar in bars) / 2
    span = log10(max(bar.value for bar in bars) / low)
    parts, y, group = [], TOP, None
    for bar in bars:
        if bar.group != group:
            y, group = y + GAP, bar.group
            parts.append(_text(LEFT - 8, y + 12, bar.group, "end"))
        length = max(log10(bar.value / low) / span * (WIDTH - LEFT - RIGHT), 1)
        colour = COLOURS[labels.index(bar.label) % len(COLOURS)]
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR - 3}" fill="{colour}"/>'
        )
        text = f"{form.format(bar.value)} {bar.label}"
        parts.append(_text(LEFT + length + 5, y + 11, text, "start", 11))
        y += BAR
    return _svg(title, parts, y + GAP)


def _rates(row: Row) -> list[Bar]:
    group = row.title.replace(" table", "")
    bars = [Bar(group, "wippy-lua", row.ours)]
    if row.floor is not None:
        bars.append(Bar(group, "floor", row.floor))
    return bars + [Bar(group, name, rate) for name, rate in row.peers.items()]


def _svg(title: str, parts: Sequence[str], height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
        ' font-family="sans-serif" font-size="12">'
    )
    back = '<rect width="100%" height="100%" fill="white"/>'
    lines = [head, back, _text(16, 26, f"{title} (logarithmic)", "start", 14), *parts, "</svg>"]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}>{escape(text)}</text>"
