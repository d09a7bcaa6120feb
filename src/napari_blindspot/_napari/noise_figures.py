"""The figures of a diagnosis in words, and what is worth knowing of them. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_blindspot.measure.drift import Drift
    from napari_blindspot.noise.fixed_pattern import FixedPattern, HotPixels
    from napari_blindspot.reporting.findings import ChannelDiagnosis, Diagnosis

UNKNOWN = "unknown"


def figures_text(channel: ChannelDiagnosis) -> str:
    """Return the figures of one channel, one a line."""
    lines = noise_figures(channel).items()
    return "\n".join(f"{name}: {value}" for name, value in lines)


def noise_figures(channel: ChannelDiagnosis) -> dict[str, str]:
    """Return the figures of one channel by what a reader calls them."""
    facts, recording = channel.noise.as_dict(), channel.recording
    depth = "t" if channel.context == "t" else "z"
    return {
        "Gain": _measured(facts, "gain", "grey values per electron"),
        "Offset": _measured(facts, "offset", "grey values"),
        "Read noise": _measured(facts, "read_noise", "electrons"),
        "Saturated voxels": f"{recording.saturated_share:.2%}",
        "Voxels at zero": f"{recording.zero_share:.2%}",
        "Column pattern": _pattern(channel.columns),
        "Row pattern": _pattern(channel.rows),
        "Hot pixels": _hot(channel.hot),
        "Noise level from plane to plane": _level(channel.drift),
        f"Proposed blind spot ({depth} y x)": " ".join(map(str, channel.hole)),
    }


def notes_of(diagnosis: Diagnosis, channel: ChannelDiagnosis) -> str:
    """Return what is worth knowing of one channel, one sentence a line."""
    notes = [words[:1].upper() + words[1:] for words in channel.warnings]
    if channel.given is not None:
        notes.insert(0, channel.given.sentence)
    if len(diagnosis.channels) > 1:
        sizes = " ".join(map(str, diagnosis.hole))
        notes.append(f"Blind spot that suits every channel: {sizes}.")
    return "\n".join(notes)


def _measured(facts: dict[str, Any], name: str, unit: str) -> str:
    value, interval = facts.get(name), facts.get(f"{name}_interval")
    if value is None:
        return UNKNOWN
    if interval is None:
        return f"{value:.3g} {unit}"
    low, high = interval
    return f"{value:.3g} {unit} (95 % interval {low:.3g} to {high:.3g})"


def _pattern(pattern: FixedPattern | None) -> str:
    if pattern is None:
        return f"{UNKNOWN}, planes too small"
    if not pattern.found:
        return "none found"
    return f"{pattern.rms:.3g} grey values ({pattern.share:.1%} of the noise)"


def _level(drift: Drift | None) -> str:
    if drift is None or not drift.planes:
        return f"{UNKNOWN}, too few planes"
    if not drift.found:
        return "as the signal says"
    return f"{min(drift.levels):.2g} to {max(drift.levels):.2g} of the model"


def _hot(found: HotPixels | None) -> str:
    return f"{UNKNOWN}, too few planes" if found is None else str(len(found.positions))
