"""What a comparison found: the figures, as JSON-able facts and as sentences."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.quality.fourier import FourierCurve
    from napari_blindspot.quality.intensity import IntensityCheck
    from napari_blindspot.quality.pixels import PixelErrors


@dataclass(frozen=True, slots=True)
class ChannelQuality:
    """What was found in one channel.

    Parameters
    ----------
    name
        Name or number of the channel; empty where there is one without a name.
    errors
        PSNR, SSIM, NRMSE, bias.
    intensity
        Mean intensity in bins, total per plane.
    ring
        Fourier ring correlation of the planes; None where it could not be measured.
    shell
        Fourier shell correlation of the volume; None for planes and movies, or
        where it could not be measured.
    """

    name: str
    errors: PixelErrors
    intensity: IntensityCheck
    ring: FourierCurve | None
    shell: FourierCurve | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name; what is infinite or unknown is None."""
        errors = asdict(self.errors)
        return {
            "name": self.name,
            **errors,
            "psnr": _finite(self.errors.psnr),
            "intensity": self._intensity(),
            "ring_correlation": None if self.ring is None else asdict(self.ring),
            "shell_correlation": None if self.shell is None else asdict(self.shell),
        }

    def _intensity(self) -> dict[str, Any]:
        check = self.intensity
        t, z = check.plane
        return {
            **asdict(check),
            "plane": {"t": t, "z": z},
            "worst_deviation": check.worst_deviation,
            "worst_ratio": check.worst_ratio,
            "bins_kept": check.bins_kept,
            "planes_kept": check.planes_kept,
        }

    def sentences(self, axes: str = "TZYX") -> list[str]:
        """Return what people want to know, line by line.

        Parameters
        ----------
        axes
            Of the stacks: a plane is named by those of T and Z that they have.
        """
        lines = [
            *self._errors_in_words(),
            *_resolution_in_words(self.ring, "planes", "Fourier ring correlation"),
            *_resolution_in_words(self.shell, "volume", "Fourier shell correlation"),
            *self._intensity_in_words(axes),
        ]
        return (
            [f"Channel {self.name}: {line}" for line in lines] if self.name else lines
        )

    def _errors_in_words(self) -> Iterator[str]:
        errors = self.errors
        psnr = "PSNR infinite (equal)"
        if math.isfinite(errors.psnr):
            psnr = f"PSNR {errors.psnr:.2f} dB"
        ssim = "" if errors.ssim is None else f", SSIM {errors.ssim:.4f}"
        yield (
            f"{psnr}{ssim}, NRMSE {_percent(errors.nrmse)}, over a range of "
            f"{errors.data_range:.5g} grey values"
        )
        share = _percent(abs(errors.bias) / errors.data_range)
        yield f"Bias {errors.bias:+.3g} grey values ({share} of the range)"
        if errors.n_invalid:
            yield (
                f"{errors.n_invalid} voxels were left out: they are NaN or infinite in "
                f"one of the two"
            )

    def _intensity_in_words(self, axes: str) -> Iterator[str]:
        check, worst = self.intensity, self.intensity.worst_bin
        what = f"Mean intensity in {len(check.bins)} bins of the {check.bin_by}"
        if worst is None:
            yield f"{what}: too few voxels in every bin to say"
        else:
            yield (
                f"{what}: off by at most {_percent(abs(worst.deviation))} of its "
                f"range, between {worst.low:.5g} and {worst.high:.5g} grey values "
                f"({_kept(check.bins_kept, 'within 1 %')})"
            )
        if check.worst_ratio is not None:
            ratio = f"{check.worst_ratio:.4f}{self._above()}"
            yield f"Ratio of means farthest from 1: {ratio}"
        yield self._planes_in_words(axes)

    def _planes_in_words(self, axes: str) -> str:
        check = self.intensity
        named = zip("TZ", check.plane, strict=True)
        where = ", ".join(f"{a.lower()}={i}" for a, i in named if a in axes)
        if check.plane_ratio is None:
            worst = _percent(abs(check.plane_deviation))
            place = f" ({where})" if where else ""
            return f"Mean of a plane off by at most {worst} of the range{place}"
        return (
            f"Ratio of plane totals farthest from 1: {check.plane_ratio:.4f}"
            f"{self._above()}{f', at {where}' if where else ''} "
            f"({_kept(check.planes_kept, 'within 0.5 %')})"
        )

    def _above(self) -> str:
        offset = self.intensity.offset
        return "" if offset is None else f" above the offset of {offset:.5g}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A result measured against a reference, channel by channel.

    Parameters
    ----------
    result, reference
        Names of the two stacks.
    axes, shape
        Of the reference.
    channels
        The figures of each channel.
    notes
        What the user should know about them, one sentence each.
    """

    result: str
    reference: str
    axes: str
    shape: tuple[int, ...]
    channels: tuple[ChannelQuality, ...]
    notes: tuple[str, ...] = ()

    @property
    def psnr(self) -> float:
        """PSNR in dB, mean over the channels."""
        return sum(one.errors.psnr for one in self.channels) / len(self.channels)

    @property
    def ssim(self) -> float | None:
        """SSIM, mean over the channels."""
        return _mean([one.errors.ssim for one in self.channels])

    @property
    def resolution(self) -> float | None:
        """Resolution in the planes, mean over the channels, in `resolution_unit`."""
        rings = [one.ring for one in self.channels]
        return _mean([None if one is None else one.resolution for one in rings])

    @property
    def resolution_unit(self) -> str | None:
        """``"µm"``, or ``"px"`` where the voxel size is not known."""
        ring = self.channels[0].ring
        return None if ring is None else ring.unit

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name, JSON-able, as `compare --json` prints them."""
        return {
            "result": self.result,
            "reference": self.reference,
            "axes": self.axes,
            "shape": list(self.shape),
            "psnr": _finite(self.psnr),
            "ssim": self.ssim,
            "resolution": self.resolution,
            "resolution_unit": self.resolution_unit,
            "channels": [one.as_dict() for one in self.channels],
            "notes": list(self.notes),
        }

    def sentences(self) -> list[str]:
        """Return what people want to know, line by line."""
        size = "×".join(str(n) for n in self.shape)
        return [
            f"{self.result} against {self.reference}: {self.axes} {size}",
            *(line for one in self.channels for line in one.sentences(self.axes)),
            *self.notes,
        ]


def resolution_words(curve: FourierCurve | None) -> str:
    """Return the resolution of a curve with its unit, in a few words."""
    if curve is None:
        return "not measured"
    if curve.resolution is None:
        return "none: not even the coarsest rings agree"
    words = f"{curve.resolution:.3g} {curve.unit}"
    return f"{words} or finer (two pixels)" if curve.sampling_limited else words


def _resolution_in_words(
    curve: FourierCurve | None, where: str, name: str
) -> Iterator[str]:
    if curve is None:
        return
    size = "×".join(str(n) for n in curve.shape)
    images = size if curve.n_images == 1 else f"{curve.n_images} planes of {size}"
    yield (
        f"Resolution in the {where}: {resolution_words(curve)} ({name} at 1/7, from "
        f"{images} voxels)"
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.2f} %"


def _kept(kept: bool | None, how: str) -> str:
    return how if kept else f"not {how}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: list[float | None]) -> float | None:
    """Return the mean, None as soon as one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
