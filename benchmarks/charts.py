"""Bar charts in SVG."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks"

_COLOURS = ("#9aa5b1", "#2f6fab", "#d9822b")
_LEFT, _BARS, _RIGHT = 130, 440, 110
_BAR, _SPACE, _HEAD = 18, 14, 62


def write_bars(name: str, title: str, unit: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Write a chart with a group of bars for each key; return the Markdown that embeds it."""
    series = list(next(iter(groups.values())))
    largest = max(value for values in groups.values() for value in values.values())
    width = _LEFT + _BARS + _RIGHT
    height = _HEAD + sum(len(values) * _BAR + _SPACE for values in groups.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        '<g font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, label in enumerate(series):
        x = _LEFT + number * 110
        lines.append(f'<rect x="{x}" y="32" width="12" height="12" fill="{_COLOURS[number]}"/>')
        lines.append(f'<text x="{x + 18}" y="42">{escape(label)}</text>')
    y = _HEAD
    for group, values in groups.items():
        lines.append(f'<text x="10" y="{y + len(values) * _BAR / 2 + 4:g}">{escape(group)}</text>')
        for number, value in enumerate(values.values()):
            bar = value / largest * _BARS
            lines.append(f'<rect x="{_LEFT}" y="{y}" width="{bar:.1f}" height="{_BAR - 3}" fill="{_COLOURS[number]}"/>')
            lines.append(f'<text x="{_LEFT + bar + 6:.1f}" y="{y + 12}">{value:.3g} {escape(unit)}</text>')
            y += _BAR
        y += _SPACE
    lines.append("</g></svg>")
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / f"{name}.svg").write_text("\n".join(lines) + "\n")
    return f"![{title}](benchmarks/{name}.svg)"
