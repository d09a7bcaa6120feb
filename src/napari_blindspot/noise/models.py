"""Noise models: the variance of a voxel as a function of its clean value.

Units everywhere: ``gain`` in grey values per photo-electron, ``offset`` in grey
values, ``read_noise`` in electrons.

========================  =======================================================
`PoissonGaussian`         a·X + b: the camera, and the default
`Gaussian`                the same everywhere: a = 0
`Poisson`                 photon counting: no noise at X = offset
`Impulse`                 any of these, with outliers among them
========================  =======================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from napari_blindspot.noise import likelihood

if TYPE_CHECKING:
    from napari_blindspot.normalize import Normalization

Interval = tuple[float, float]

# Network units: a mean below one thousandth of the range counts as that, so that pure
# Poisson noise keeps a variance in the dark.
_LEAST_SIGNAL = 1e-3
_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True, slots=True)
class PoissonGaussian:
    """The camera model: a voxel of clean value X has variance a·X + b.

    For a camera ``y = gain·Poisson(x) + Normal(offset, (gain·read_noise)²)`` this is
    exact with a = gain and b = (gain·read_noise)² − gain·offset. Denoising needs only
    a and b; offset and read noise are None where the stack does not tell them.

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
    a_interval, b_interval, offset_interval, read_noise_interval
        95 % confidence intervals; None where the value was given, not estimated.
    counting
        Whether the likelihood counts photons exactly (a Gamma prior and a negative
        binomial) instead of taking the noise as normal.
    warnings
        What the user should know about the estimate, one sentence each.
    seen
        Part of the variance that differences of neighbours show, 1 where neighbours
        share no noise.
    """

    kind: ClassVar[str] = "poisson-gaussian"

    a: float
    b: float
    offset: float | None = None
    read_noise: float | None = None
    floor: float = 0.0
    a_interval: Interval | None = None
    b_interval: Interval | None = None
    offset_interval: Interval | None = None
    read_noise_interval: Interval | None = None
    counting: bool = False
    warnings: tuple[str, ...] = ()
    seen: float = 1.0

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

    @property
    def ordinary(self) -> PoissonGaussian:
        """The noise of voxels that are no outliers: this noise."""
        return self

    def variance(self, clean: Any) -> Any:
        """Return the noise variance at clean values, grey values squared.

        Parameters
        ----------
        clean
            A number or an array in grey values.
        """
        n = self.a * clean + self.b
        if isinstance(n, float | int):
            return max(n, self.floor)
        return n + (self.floor - n).clip(min=0)

    def normalized(self, scale: Normalization) -> likelihood.Likelihood:
        """Return the model in network units, t = (y − offset) / scale."""
        a = self.a / scale.scale
        floor = max(self.floor / scale.scale**2, _LEAST_SIGNAL * a, _LEAST_VARIANCE)
        b = (self.a * scale.offset + self.b) / scale.scale**2
        if self.counting and a > 0:
            return likelihood.PhotonCounting(a, b, floor)
        return likelihood.Affine(a, b, floor)

    def as_dict(self) -> dict[str, Any]:
        """Return the one JSON object in which noise is reported everywhere."""
        return {
            "model": self.kind,
            "gain": self.a,
            "gain_interval": self.a_interval,
            "offset": self.offset,
            "offset_interval": self.offset_interval,
            "read_noise": self.read_noise,
            "read_noise_interval": self.read_noise_interval,
            "variance_slope": self.a,
            "variance_intercept": self.b,
            "variance_intercept_interval": self.b_interval,
            "variance_floor": self.floor,
            "photon_counting": self.counting,
            "seen_by_neighbours": self.seen,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
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
            interval("offset_interval"),
            interval("read_noise_interval"),
            bool(facts.get("photon_counting", False)),
            tuple(facts.get("warnings", ())),
            float(facts.get("seen_by_neighbours", 1.0)),
        )


@dataclass(frozen=True, slots=True)
class Gaussian(PoissonGaussian):
    """Noise of the same variance everywhere: a = 0, b = σ²."""

    kind: ClassVar[str] = "gaussian"

    @classmethod
    def from_sigma(cls, sigma: float, interval: Interval | None = None) -> Gaussian:
        """Make the model of a known standard deviation, in grey values."""
        b = interval and (interval[0] ** 2, interval[1] ** 2)
        return cls(0.0, sigma**2, floor=sigma**2, b_interval=b)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise, grey values."""
        return math.sqrt(max(self.b, 0.0))

    def as_dict(self) -> dict[str, Any]:
        """Return the one JSON object; there is a sigma and neither gain nor offset."""
        # Not super(): a dataclass with slots is another class than the one written.
        facts = PoissonGaussian.as_dict(self)
        return facts | {"gain": None, "gain_interval": None, "sigma": self.sigma}


@dataclass(frozen=True, slots=True)
class Poisson(PoissonGaussian):
    """Photon counting without read noise: the variance is gain·(X − offset)."""

    kind: ClassVar[str] = "poisson"

    @classmethod
    def from_gain(
        cls, gain: float, offset: float = 0.0, interval: Interval | None = None
    ) -> Poisson:
        """Make the model of a known gain (1/λ in the words of Laine et al. 2019)."""
        return cls(gain, -gain * offset, offset, 0.0, a_interval=interval)


@dataclass(frozen=True, slots=True)
class Impulse:
    """Ordinary noise with outliers among it: hot pixels, salt and pepper.

    Parameters
    ----------
    share
        Probability that a voxel holds an outlier instead of the signal.
    low, high
        Range of the outliers, grey values; all values between are equally likely.
    base
        Noise of the other voxels.
    share_interval
        95 % confidence interval; None where the share was given.
    warnings
        What the user should know about the estimate, one sentence each.
    """

    kind: ClassVar[str] = "impulse"

    share: float
    low: float
    high: float
    base: PoissonGaussian = field(default_factory=lambda: PoissonGaussian(0.0, 0.0))
    share_interval: Interval | None = None
    warnings: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """Grey values per photo-electron, of the voxels that are no outliers."""
        return self.base.gain

    @property
    def ordinary(self) -> PoissonGaussian:
        """The noise of voxels that are no outliers, which is what is measured."""
        return self.base

    def variance(self, clean: Any) -> Any:
        """Return the variance at clean values, outliers included."""
        base = self.base.variance(clean)
        away = (clean - (self.low + self.high) / 2) ** 2
        width = (self.high - self.low) ** 2 / 12
        return (1 - self.share) * (base + self.share * away) + self.share * width

    def normalized(self, scale: Normalization) -> likelihood.Likelihood:
        """Return the model in network units."""
        base = replace(self.base, counting=False).normalized(scale)
        assert isinstance(base, likelihood.Affine)
        return likelihood.Impulse(
            base.a,
            base.b,
            base.floor,
            self.share,
            (self.low - scale.offset) / scale.scale,
            (self.high - scale.offset) / scale.scale,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the base, with the outliers beside it."""
        return {
            **self.base.as_dict(),
            "model": self.kind,
            "base_model": self.base.kind,
            "outlier_share": self.share,
            "outlier_share_interval": self.share_interval,
            "outlier_low": self.low,
            "outlier_high": self.high,
            "warnings": [*self.base.warnings, *self.warnings],
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Impulse:
        """Read back what `as_dict` wrote."""
        pair = facts.get("outlier_share_interval")
        base = _AFFINE[facts.get("base_model", "poisson-gaussian")]
        return cls(
            float(facts["outlier_share"]),
            float(facts["outlier_low"]),
            float(facts["outlier_high"]),
            base.from_dict({**facts, "warnings": ()}),
            (float(pair[0]), float(pair[1])) if pair else None,
            tuple(facts.get("warnings", ())),
        )


NoiseModel = PoissonGaussian | Impulse
"""Every noise model; `Gaussian` and `Poisson` are special cases of the first."""

_AFFINE: dict[str, type[PoissonGaussian]] = {
    one.kind: one for one in (PoissonGaussian, Gaussian, Poisson)
}


def noise_from_dict(facts: dict[str, Any]) -> NoiseModel:
    """Read back a noise model of any kind.

    Raises
    ------
    KeyError, ValueError
        If the object does not describe a noise model.
    """
    kind = facts.get("model", "poisson-gaussian")
    if kind == Impulse.kind:
        return Impulse.from_dict(facts)
    return _AFFINE[kind].from_dict(facts)
