"""Noise models: the variance of a voxel as a function of its clean value.

Units everywhere: ``gain`` in grey values per photo-electron, ``offset`` in grey
values, ``read_noise`` in electrons.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from napari_blindspot.normalize import Normalization

Interval = tuple[float, float]

# Network units: a mean below one thousandth of the range counts as that, so that pure
# Poisson noise keeps a variance in the dark.
_LEAST_SIGNAL = 1e-3
_LEAST_VARIANCE = 1e-8


class NetworkNoise(NamedTuple):
    """Noise variance max(a·t + b, floor) of one channel in network units."""

    a: float
    b: float
    floor: float


@dataclass(frozen=True, slots=True)
class PoissonGaussian:
    """The camera model: a voxel of clean value X has variance a·X + b.

    For a camera ``y = gain·Poisson(x) + Normal(offset, (gain·read_noise)²)`` this is
    exact with a = gain and b = (gain·read_noise)² − gain·offset. Denoising needs only
    a and b; from one stack alone, offset and read noise cannot be told apart from
    them and stay None unless they are known.

    Parameters
    ----------
    a
        Variance per grey value, in grey values.
    b
        Variance at X = 0, in grey values squared; often negative with a large offset.
    offset, read_noise
        Where they are known: grey values and electrons.
    floor
        Least variance that is believed anywhere, in grey values squared: the line is
        not trusted below the darkest voxels it was measured on.
    a_interval, b_interval
        95 % confidence intervals; None where the value was given, not estimated.
    warnings
        What the user should know about the estimate, one sentence each.
    """

    a: float
    b: float
    offset: float | None = None
    read_noise: float | None = None
    floor: float = 0.0
    a_interval: Interval | None = None
    b_interval: Interval | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_camera(
        cls, gain: float, offset: float, read_noise: float
    ) -> PoissonGaussian:
        """Make the model of a camera whose data sheet is known."""
        b = (gain * read_noise) ** 2 - gain * offset
        return cls(gain, b, offset, read_noise, floor=(gain * read_noise) ** 2)

    @property
    def gain(self) -> float:
        """Grey values per photo-electron."""
        return self.a

    def normalized(self, scale: Normalization) -> NetworkNoise:
        """Return the model in network units, t = (y − offset) / scale."""
        a = self.a / scale.scale
        floor = max(self.floor / scale.scale**2, _LEAST_SIGNAL * a, _LEAST_VARIANCE)
        return NetworkNoise(a, (self.a * scale.offset + self.b) / scale.scale**2, floor)

    def as_dict(self) -> dict[str, Any]:
        """Return the one JSON object in which noise is reported everywhere."""
        facts = asdict(self)
        return {
            "model": "poisson-gaussian",
            "gain": self.a,
            "gain_interval": facts["a_interval"],
            "offset": self.offset,
            "offset_interval": None,
            "read_noise": self.read_noise,
            "read_noise_interval": None,
            "variance_slope": self.a,
            "variance_intercept": self.b,
            "variance_intercept_interval": facts["b_interval"],
            "variance_floor": self.floor,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> PoissonGaussian:
        """Read back what `as_dict` wrote."""

        def interval(name: str) -> Interval | None:
            pair = facts.get(name)
            return (float(pair[0]), float(pair[1])) if pair else None

        return cls(
            float(facts["variance_slope"]),
            float(facts["variance_intercept"]),
            facts.get("offset"),
            facts.get("read_noise"),
            float(facts["variance_floor"]),
            interval("gain_interval"),
            interval("variance_intercept_interval"),
            tuple(facts.get("warnings", ())),
        )
