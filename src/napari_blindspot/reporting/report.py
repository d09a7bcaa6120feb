"""A diagnosis as one HTML page that needs neither network nor scripts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError
from napari_blindspot.io.new_file import check_new_file, write_new_file
from napari_blindspot.noise.whiteness import ALARM
from napari_blindspot.reporting.charts import (
    bars_with_errors,
    curve,
    points_with_errors,
    scatter_with_line,
)
from napari_blindspot.reporting.findings import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.noise.fixed_pattern import FixedPattern
    from napari_blindspot.noise.whiteness import AxisCorrelation
    from napari_blindspot.reporting.findings import ChannelDiagnosis

_KIND = "report"
_STYLE = """
body { font-family: system-ui, sans-serif; color: #222; background: #fff;
       max-width: 1120px; margin: 2em auto; padding: 0 1em; line-height: 1.45; }
h1 { font-size: 1.5em; } h2 { font-size: 1.25em; border-top: 1px solid #ddd;
     padding-top: 1em; } h3 { font-size: 1em; margin: 0.4em 0; }
.verdict { background: #eef4fa; border-left: 4px solid #1f5f99; padding: 0.7em 1em; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; }
figure { margin: 0; max-width: 100%; } figcaption { font-size: 0.9em; color: #444; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; } th { text-align: left; font-weight: normal;
        color: #555; padding-right: 1.5em; } td { padding-right: 1em; }
"""


def check_report_path(path: str | Path, *, overwrite: bool) -> Path:
    """Refuse a path that cannot become a report, before any work is done.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is not given.
    InputError
        If it does not end in ``.html``, is a folder, or its folder does not exist.
    """
    return check_new_file(path, _KIND, (".html", ".htm"), overwrite=overwrite)


def write_report(
    diagnosis: Diagnosis, path: str | Path, *, overwrite: bool = False
) -> Path:
    """Write a diagnosis as one self-contained HTML page.

    Parameters
    ----------
    diagnosis
        What `diagnose` returned.
    path
        ``.html`` file to write.
    overwrite
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If `diagnosis` is none, or the path cannot be used, or exists and `overwrite` is
        not given.
    RunError
        If it cannot be written.
    """
    _check_is_diagnosis(diagnosis)
    path = check_report_path(path, overwrite=overwrite)
    page = report_html(diagnosis).encode()
    write_new_file(path, page, _KIND, overwrite=overwrite)
    return path


def _check_is_diagnosis(given: Any) -> None:
    if not isinstance(given, Diagnosis):
        raise InputError(
            f"diagnosis={given!r} is of type {type(given).__name__}, which is no "
            f"diagnosis; give what 'diagnose' returned."
        )


def report_html(diagnosis: Diagnosis) -> str:
    """Return the page as text."""
    title = f"Noise of {diagnosis.name}"
    shape = " × ".join(map(str, diagnosis.shape))
    facts = f"{diagnosis.axes}, {shape}, {diagnosis.dtype}"
    several = len(diagnosis.channels) > 1
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(facts)}</p>",
            f'<p class="verdict">{escape(diagnosis.verdict)}</p>',
            *(_channel(one, several) for one in diagnosis.channels),
            "</body>",
            "</html>",
            "",
        ]
    )


def _channel(one: ChannelDiagnosis, several: bool) -> str:
    parts = []
    if several:
        parts.append(f"<h2>Channel {escape(one.name)}</h2>")
        parts.append(f'<p class="verdict">{escape(one.verdict)}</p>')
    if one.given is not None:
        parts.append(f"<p>{escape(one.given.sentence)}</p>")
    if one.warnings:
        items = "".join(f"<li>{escape(words)}</li>" for words in one.warnings)
        parts.append(f"<h3>Worth knowing</h3><ul>{items}</ul>")
    parts.append(_table(_rows(one)))
    plots = [
        _mean_variance(one),
        *(_bars(axis, one.context) for axis in _measured(one)),
        *(_pattern(pattern) for pattern in (one.columns, one.rows)),
        _drift(one),
    ]
    parts.append('<div class="plots">' + "\n".join(filter(None, plots)) + "</div>")
    return "\n".join(parts)


def _rows(one: ChannelDiagnosis) -> list[tuple[str, str]]:
    noise, recording = one.noise.as_dict(), one.recording
    depth = "t" if one.context == "t" else "z"
    rows = [
        ("gain, grey values per electron", _with_interval(noise, "gain")),
        ("offset, grey values", _with_interval(noise, "offset")),
        ("read noise, electrons", _with_interval(noise, "read_noise")),
        (
            "noise variance at the darkest and brightest points",
            " and ".join(
                f"{one.noise.variance(float(x)):.4g}"
                for x in (one.points.mean.min(), one.points.mean.max())
            )
            if one.points.mean.size
            else "unknown",
        ),
        ("values", f"{recording.lowest:g} to {recording.highest:g}"),
        ("voxels at zero", f"{recording.zero_share:.2%}"),
        ("saturated voxels", f"{recording.saturated_share:.2%}"),
        (f"proposed hole ({depth} y x)", " ".join(map(str, one.hole))),
    ]
    if one.hot is not None:
        found = f"{len(one.hot.positions)} of {one.hot.pixels} pixels"
        rows.append(("hot pixels", f"{found}, in {one.hot.planes} planes"))
    return rows


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table>{lines}</table>"


def _with_interval(noise: dict[str, Any], name: str) -> str:
    value, interval = noise.get(name), noise.get(f"{name}_interval")
    if value is None:
        return "unknown"
    if interval is None:
        return f"{value:.4g}"
    return f"{value:.4g} (95 % interval {interval[0]:.4g} to {interval[1]:.4g})"


def _mean_variance(one: ChannelDiagnosis) -> str:
    points = one.points
    if points.mean.size < 2:
        return ""
    x = np.linspace(points.mean.min(), points.mean.max(), 60)
    svg = scatter_with_line(
        (points.mean, points.variance),
        (x, one.noise.variance(x), half_band(one, x)),
        x_label="signal (grey values)",
        y_label="noise variance (grey values²)",
        title="Noise variance against signal",
    )
    return _figure(
        svg,
        "Noise variance against signal: measured in bins (points), the noise model "
        "(line) and its 95 % band.",
    )


def half_band(one: ChannelDiagnosis, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half the 95 % band of the line, from the interval of its slope.

    The line turns about the weighted mean of the points, where slope and height are
    independent; the weights are those of a variance estimated from `count` voxels.
    """
    interval = getattr(one.noise, "a_interval", None)
    if interval is None:
        return np.zeros_like(x)
    points = one.points
    weight = points.count / np.maximum(points.variance, 1e-12) ** 2
    centre = np.average(points.mean, weights=weight)
    spread = np.average((points.mean - centre) ** 2, weights=weight)
    half: NDArray[np.float64] = np.sqrt(spread + (x - centre) ** 2)
    half *= (interval[1] - interval[0]) / 2
    return half


def _measured(one: ChannelDiagnosis) -> list[AxisCorrelation]:
    c = one.correlation
    return [axis for axis in (c.x, c.y, c.z) if axis.values]


def _bars(axis: AxisCorrelation, context: str) -> str:
    name = context if axis.axis == "z" else axis.axis
    unit = "planes" if axis.axis == "z" else "px"
    svg = bars_with_errors(
        axis.values,
        axis.errors,
        level=ALARM,
        x_label=f"distance along {name} ({unit})",
        y_label="correlation",
        title=f"Correlation of the noise along {name}",
    )
    if axis.reach is None:
        words = f"unknown: {axis.reason}."
    elif axis.reach:
        words = f"voxels up to {axis.reach} {unit} apart share noise."
    else:
        words = "white."
    if axis.fixed:
        words += f" A fixed pattern holds {axis.fixed:.1%} of the variance."
    return _figure(
        svg,
        f"Along {name}: {words} Bars with two standard errors; within the dashed "
        f"lines it is of no matter.",
    )


def _pattern(pattern: FixedPattern | None) -> str:
    if pattern is None:
        return ""
    what = "column" if pattern.axis == "x" else "row"
    svg = curve(
        pattern.offsets,
        x_label=f"{what} (px)",
        y_label="offset (grey values)",
        title=f"Fixed pattern of the {what}s",
    )
    found = "found" if pattern.found else "none found beyond chance"
    return _figure(
        svg,
        f"Fixed pattern of the {what}s: {found}; {pattern.rms:.3g} ± "
        f"{pattern.error:.2g} grey values rms, {pattern.share:.1%} of the noise.",
    )


def _drift(one: ChannelDiagnosis) -> str:
    """Draw the level of the noise plane by plane, and the mean; only if it drifts."""
    drift = one.drift
    if drift is None or not drift.found:
        return ""
    axis = f"plane along {one.context}"
    level = points_with_errors(
        drift.planes,
        drift.levels,
        drift.errors,
        level=1.0,
        x_label=axis,
        y_label="noise level (of the model's variance)",
        title="Noise level of the planes",
    )
    mean = curve(
        drift.means,
        x=drift.planes,
        x_label=axis,
        y_label="mean (grey values)",
        title="Mean of the planes",
    )
    words = drift.sentence[:1].upper() + drift.sentence[1:]
    return "\n".join(
        [
            _figure(level, f"{words} Bars with two standard errors."),
            _figure(mean, "Mean grey value of the same planes."),
        ]
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
