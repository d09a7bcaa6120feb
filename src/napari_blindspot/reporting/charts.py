"""Small plots as SVG text, for reports that need no program to be looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 16, 14, 48
_INK, _GRID, _BLUE, _RED = "#333333", "#dddddd", "#1f5f99", "#b3341f"
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Frame:
    """The data range of a plot, and its way to pixels.

    Parameters
    ----------
    x_range, y_range
        Data values at the edges.
    x_label, y_label
        What the axes show, with units.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str

    def x(self, value: float) -> float:
        """Return the pixel of a data value along x."""
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return the pixel of a data value along y; larger values lie higher."""
        low, high = self.y_range
        return (
            HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)
        )


def scatter_with_line(
    points: tuple[ArrayLike, ArrayLike],
    line: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    x_label: str,
    y_label: str,
    title: str,
) -> str:
    """Draw points, and a line with a band of uncertainty.

    Parameters
    ----------
    points
        x and y.
    line
        x, y and half the width of the band.
    x_label, y_label, title
        Words; the title is read aloud by screen readers.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    px, py = (np.asarray(part, float) for part in points)
    lx, ly, half = (np.asarray(part, float) for part in line)
    frame = Frame(
        _padded(np.concatenate([px, lx])),
        _padded(np.concatenate([py, ly, [0.0]])),
        x_label,
        y_label,
    )
    upper = _path(frame, lx, ly + half)
    lower = _path(frame, lx[::-1], (ly - half)[::-1])
    body = [
        f'<polygon points="{upper} {lower}" fill="{_RED}" fill-opacity="0.18"/>',
        f'<polyline points="{_path(frame, lx, ly)}" fill="none" stroke="{_RED}" '
        f'stroke-width="2"/>',
        *(
            f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.2" '
            f'fill="{_BLUE}" fill-opacity="0.75"/>'
            for x, y in zip(px, py, strict=True)
        ),
    ]
    return _svg(frame, body, title)


def bars_with_errors(
    values: Sequence[float],
    errors: Sequence[float],
    *,
    level: float,
    x_label: str,
    y_label: str,
    title: str,
) -> str:
    """Draw bars at 1, 2, … with error bars of two standard errors.

    Parameters
    ----------
    values, errors
        Heights and standard errors.
    level
        Where to draw dashed lines, at plus and minus: within them is no matter.
    x_label, y_label, title
        As in `scatter_with_line`.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    low = min(-2 * level, *(v - 2 * e for v, e in zip(values, errors, strict=True)))
    high = max(3 * level, *(v + 2 * e for v, e in zip(values, errors, strict=True)))
    span = (low - 0.05 * (high - low), high + 0.05 * (high - low))
    frame = Frame((0.4, len(values) + 0.6), span, x_label, y_label)
    zero = frame.y(0)
    body = [_dashed(frame, at) for at in (-level, level)]
    for lag, (value, error) in enumerate(zip(values, errors, strict=True), start=1):
        left, right = frame.x(lag - 0.3), frame.x(lag + 0.3)
        top = frame.y(value)
        body.append(
            f'<rect x="{left:.1f}" y="{min(top, zero):.1f}" width="{right - left:.1f}" '
            f'height="{max(abs(top - zero), 0.5):.1f}" fill="{_BLUE}" '
            f'fill-opacity="0.75"/>'
        )
        body.append(_error_bar(frame, lag, value, error))
    body.append(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}" '
        f'stroke="{_INK}"/>'
    )
    return _svg(frame, body, title, x_ticks=list(range(1, len(values) + 1)))


def points_with_errors(
    x: ArrayLike,
    y: ArrayLike,
    errors: ArrayLike,
    *,
    level: float,
    x_label: str,
    y_label: str,
    title: str,
) -> str:
    """Draw points with error bars of two standard errors, and a dashed level.

    Parameters
    ----------
    x, y, errors
        Places, values and standard errors.
    level
        Where the points should lie.
    x_label, y_label, title
        As in `scatter_with_line`.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    px, py, half = (np.asarray(part, float) for part in (x, y, errors))
    ends = np.concatenate([py - 2 * half, py + 2 * half, [level]])
    frame = Frame(_padded(px), _padded(ends), x_label, y_label)
    body = [_dashed(frame, level)]
    for at, value, error in zip(px, py, half, strict=True):
        body += [
            _error_bar(frame, at, value, error),
            f'<circle cx="{frame.x(at):.1f}" cy="{frame.y(value):.1f}" r="3.2" '
            f'fill="{_BLUE}"/>',
        ]
    return _svg(frame, body, title)


def curve(
    values: ArrayLike,
    *,
    x_label: str,
    y_label: str,
    title: str,
    x: ArrayLike | None = None,
) -> str:
    """Draw one line over places `x`, by default over the index of its values.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    y = np.asarray(values, float)
    at = np.arange(y.size, dtype=float) if x is None else np.asarray(x, float)
    frame = Frame((at[0], max(at[0] + 1, at[-1])), _padded(y), x_label, y_label)
    line = (
        f'<polyline points="{_path(frame, at, y)}" fill="none" stroke="{_BLUE}" '
        f'stroke-width="1"/>'
    )
    return _svg(frame, [line], title)


def _svg(
    frame: Frame, body: Sequence[str], title: str, x_ticks: Sequence[float] = ()
) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_axes(frame, x_ticks or _nice_ticks(*frame.x_range)),
        *body,
        "</svg>",
    ]
    return "\n".join(parts)


def _axes(frame: Frame, x_ticks: Sequence[float]) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for value in x_ticks:
        x = frame.x(value)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" '
            f'stroke="{_GRID}"/>'
        )
        parts.append(_text(x, bottom + 17, f"{value:g}", "middle"))
    for value in _nice_ticks(*frame.y_range):
        y = frame.y(value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="{_GRID}"/>'
        )
        parts.append(_text(_LEFT - 7, y + 4, f"{value:g}", "end"))
    middle = (_TOP + bottom) / 2
    parts.append(_text((_LEFT + right) / 2, HEIGHT - 10, frame.x_label, "middle"))
    parts.append(
        f'<g transform="translate(16 {middle:.1f}) rotate(-90)">'
        f"{_text(0, 0, frame.y_label, 'middle')}</g>"
    )
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'fill="{_INK}">{escape(words)}</text>'
    )


def _dashed(frame: Frame, at: float) -> str:
    """Draw a dashed line from side to side at a height."""
    return (
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{frame.y(at):.1f}" '
        f'y2="{frame.y(at):.1f}" stroke="{_RED}" stroke-dasharray="5 4"/>'
    )


def _error_bar(frame: Frame, at: float, value: float, error: float) -> str:
    """Draw two standard errors up and down from a value."""
    return (
        f'<line x1="{frame.x(at):.1f}" x2="{frame.x(at):.1f}" '
        f'y1="{frame.y(value - 2 * error):.1f}" '
        f'y2="{frame.y(value + 2 * error):.1f}" stroke="{_INK}"/>'
    )


def _path(frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(
        f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(x, y, strict=True)
    )


def _padded(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of some values with a little room on both sides."""
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def _nice_ticks(low: float, high: float) -> list[float]:
    """Return round values within a range: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step)
    last = math.floor(high / step)
    return [round(n * step, 12) for n in range(first, last + 1)]
