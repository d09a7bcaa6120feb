"""What was found about the noise of a stack, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_blindspot.measure.drift import Drift
    from napari_blindspot.noise.estimate import MeanVariance
    from napari_blindspot.noise.fixed_pattern import FixedPattern, HotPixels
    from napari_blindspot.noise.given import GivenNoise
    from napari_blindspot.noise.models import NoiseModel
    from napari_blindspot.noise.recording import Recording
    from napari_blindspot.noise.whiteness import AxisCorrelation, Correlation, Hole
    from napari_blindspot.planes import ContextAxis

_SLIGHT = 0.03  # correlation worth a remark


@dataclass(frozen=True, slots=True, eq=False)
class ChannelDiagnosis:
    """The noise of one channel.

    Parameters
    ----------
    name
        Name or index of the channel.
    context
        The axis that ``z`` stands for in correlation and hole: ``"z"``, ``"t"`` for a
        movie, ``"none"`` for a single plane.
    noise
        Camera model with 95 % intervals.
    points
        The mean–variance points that it was fitted to.
    recording
        Clipping, saturation, zeros, rounding, compression.
    correlation
        Autocorrelation along z, y and x.
    columns, rows
        Fixed patterns; None where the planes are too small.
    hot
        Hot pixels of the middle of the planes; None with fewer than 20 planes.
    drift
        The level of the noise from plane to plane; None of a single plane.
    given
        What the user knows, held against the stack; None where nothing was given.
    """

    name: str
    context: ContextAxis
    noise: NoiseModel
    points: MeanVariance
    recording: Recording
    correlation: Correlation
    columns: FixedPattern | None
    rows: FixedPattern | None
    hot: HotPixels | None
    drift: Drift | None
    given: GivenNoise | None = None

    @property
    def hole(self) -> Hole:
        """Proposed blind spot (z, y, x) in voxels, odd sizes."""
        return self.correlation.hole

    @property
    def verdict(self) -> str:
        """One sentence: is the noise white, and which hole suits it."""
        found = self.correlation.verdict
        if found == "white":
            sentence = "The noise is white: a hole of one voxel (1 1 1) suits it"
        elif found == "unknown":
            sentence = (
                f"Whether the noise is white is unknown ({self._doubt()}); a hole of "
                f"one voxel (1 1 1) is the usual start"
            )
        else:
            found = found.replace("along z", f"along {self.context}")
            order = f"({self.context} y x)" if self.context != "none" else "(z y x)"
            sentence = (
                f"The noise is {found}: use a hole of {_spaced(self.hole)} {order}"
            )
        if self.recording.problems:
            sentence += "; the recording was clipped or compressed"
        return sentence + "."

    @property
    def camera(self) -> str:
        """One sentence: gain, offset and read noise, as far as they are known."""
        facts = self.noise.as_dict()
        units = {
            "gain": "grey values per electron",
            "offset": "grey values",
            "read_noise": "electrons",
        }
        known = [
            f"{name.replace('_', ' ')} {_measured(facts, name)} {unit}"
            for name, unit in units.items()
            if facts.get(name) is not None
        ]
        return f"Noise model {facts['model']}: {', '.join(known)}."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        return (
            *self.noise.warnings,
            *self.recording.problems,
            *self._remarks(),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts."""
        points = self.points
        return {
            "channel": self.name,
            "noise": {
                **self.noise.as_dict(),
                "points": {
                    "mean": points.mean.tolist(),
                    "variance": points.variance.tolist(),
                    "count": points.count.tolist(),
                },
            },
            "correlation": self.correlation.as_dict(),
            "fixed_pattern": {
                "columns": self.columns and self.columns.as_dict(),
                "rows": self.rows and self.rows.as_dict(),
                "hot_pixels": self.hot and self.hot.as_dict(),
            },
            "recording": self.recording.as_dict(),
            "drift": self.drift and self.drift.as_dict(),
            "given": self.given and self.given.as_dict(),
            "warnings": list(self.warnings),
            "hole": list(self.hole),
            "verdict": self.verdict,
        }

    def _doubt(self) -> str:
        axes = (self.correlation.x, self.correlation.y)
        reasons = dict.fromkeys(one.reason for one in axes if one.reason)
        return "; ".join(reasons)

    def _remarks(self) -> list[str]:
        c = self.correlation
        said = (_axis_remark(one, self.context) for one in (c.z, c.y, c.x))
        remarks = [remark for remark in said if remark]
        for pattern, what in ((self.columns, "columns"), (self.rows, "rows")):
            if pattern is not None and pattern.found:
                remarks.append(
                    f"the {what} have a fixed pattern of {pattern.rms:.3g} grey values "
                    f"rms ({pattern.share:.1%} of the noise)."
                )
        if self.hot is not None and len(self.hot.positions):
            remarks.append(
                f"{len(self.hot.positions)} hot pixel(s) stand out in most planes."
            )
        if self.drift is not None and self.drift.found:
            remarks.append(self.drift.sentence)
        return remarks


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """The noise of a stack, channel by channel.

    Parameters
    ----------
    name
        Name of the stack.
    axes, shape, dtype
        What was diagnosed.
    context
        The axis that ``z`` stands for in correlation and hole.
    channels
        One per channel.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    context: ContextAxis
    channels: tuple[ChannelDiagnosis, ...]

    @property
    def hole(self) -> Hole:
        """The smallest hole (z, y, x) that suits every channel."""
        z, y, x = (max(sizes) for sizes in zip(*self._holes, strict=True))
        return z, y, x

    @property
    def verdict(self) -> str:
        """One sentence; with several channels, one for each and the hole for all."""
        if len(self.channels) == 1:
            return self.channels[0].verdict
        each = " ".join(f"Channel {one.name}: {one.verdict}" for one in self.channels)
        return f"{each} Hole for all channels: {_spaced(self.hole)}."

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able facts; those of several channels under ``"channels"``."""
        facts: dict[str, Any] = {
            "name": self.name,
            "axes": self.axes,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "context": self.context,
        }
        parts = [one.as_dict() for one in self.channels]
        facts |= parts[0] if len(parts) == 1 else {"channels": parts}
        return facts | {"hole": list(self.hole), "verdict": self.verdict}

    def sentences(self) -> list[str]:
        """Return the diagnosis for people, one sentence a line."""
        lines = []
        for one in self.channels:
            lead = f"Channel {one.name}: " if len(self.channels) > 1 else ""
            lines += [lead + one.verdict, lead + one.camera]
            lines += [lead + one.given.sentence] if one.given is not None else []
            lines += [lead + words[0].upper() + words[1:] for words in one.warnings]
        if len(self.channels) > 1:
            lines.append(f"Hole for all channels: {_spaced(self.hole)}.")
        return lines

    @property
    def _holes(self) -> list[Hole]:
        return [one.hole for one in self.channels]


def _axis_remark(one: AxisCorrelation, context: ContextAxis) -> str:
    """Say what is worth knowing of one axis beyond the verdict."""
    axis = context if one.axis == "z" else one.axis
    if one.fixed > _SLIGHT:
        return (
            f"{one.fixed:.1%} of the noise variance stays the same from plane to plane "
            f"(a fixed pattern of single pixels, or very fine structure)."
        )
    if one.reach is None:
        return f"correlation along {axis} is unknown: {one.reason}."
    slight = one.values[:1] > (_SLIGHT,) and one.values[0] > 4 * one.errors[0]
    if one.reach == 0 and slight:
        return (
            f"neighbours along {axis} share {one.values[0]:.1%} of the noise, too "
            f"little to matter."
        )
    return ""


def _measured(facts: dict[str, Any], name: str) -> str:
    interval = facts.get(f"{name}_interval")
    known = f" ({interval[0]:.3g} to {interval[1]:.3g})" if interval else ""
    return f"{facts[name]:.3g}{known}"


def _spaced(hole: Hole) -> str:
    return " ".join(map(str, hole))
