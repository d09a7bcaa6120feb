"""The noise level learned with the network, in all the ways of Laine et al. 2019.

One number says how strong the noise is: σ of Gaussian noise, 1/λ of Poisson noise, the
share α of outliers. It is one for the whole stack, or one per image, told by a second
U-Net, which is not blind. The likelihood sees only the sum of prior variance and noise
variance; what splits the two is a small reward for noise, which grows until some flat
pixels have no prior variance left. That reward depends on the scale of the data and
biases the answer, so an estimate that is frozen before training (`noise.estimate`) is
the better choice where there is one.

Three lines of a training loop use it::

    likelihood = learner.likelihood(planes, frozen)
    score = likelihood.negative_log_likelihood(y, prior.mean, prior.variance)
    loss = score.mean() + learner.regulariser(likelihood, prior.mean)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_blindspot.errors import InputError
from napari_blindspot.networks.blindspot import pad_high
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.precision import full_precision
from napari_blindspot.networks.unet import initialise
from napari_blindspot.noise.covariance import JointAffine, JointImpulse
from napari_blindspot.noise.likelihood import Affine, Impulse

if TYPE_CHECKING:
    from napari_blindspot.config import NetworkSettings

NoiseFamily = Literal["gaussian", "poisson", "impulse"]
NoiseScope = Literal["stack", "image"]

_OUTSET = 4.0  # softplus(0 − 4) + 1e-3 = 0.019, about 5 grey values of 8 bit
_LEAST = 1e-3
_MOST_OUTLIERS = 0.999
_REWARD = 0.1  # per standard deviation of the noise
_JOINT_REWARD = 0.2  # the paper halves the likelihood of several channels; here not
_HASTE = 10.0  # a single number needs longer steps in training this short


class NoiseLearner(nn.Module):
    """The strength of the noise, learned inside the likelihood.

    Parameters
    ----------
    family
        ``"gaussian"`` learns σ, ``"poisson"`` 1/λ, ``"impulse"`` the share α of
        outliers.
    scope
        ``"stack"`` for one number, ``"image"`` for one per image of a batch.
    settings
        Of the blind-spot network beside it: its channels, and for ``"image"`` the
        width and depth of the second U-Net.
    full
        The full range of the data in network units. The constants of the paper are
        meant for a range of 1.
    dark
        Of ``"poisson"``: the value without light, in network units.
    outliers
        Of ``"impulse"``: their lowest and highest value, in network units.

    Raises
    ------
    InputError
        If the range of the outliers is empty.
    """

    def __init__(
        self,
        family: NoiseFamily,
        scope: NoiseScope,
        settings: NetworkSettings,
        *,
        full: float = 1.0,
        dark: float = 0.0,
        outliers: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        if outliers[1] <= outliers[0]:
            raise InputError(
                f"outliers={outliers} is an empty range; give the lowest and the "
                f"highest value of an outlier, in this order."
            )
        self.family, self.scope = family, scope
        self.full, self.dark, self.outliers = full, dark, outliers
        self.channels, self.stride = settings.channels, 2**settings.depth
        self._centre = slice(
            settings.context * self.channels, (settings.context + 1) * self.channels
        )
        if scope == "stack":
            self.strength = nn.Parameter(torch.zeros(()))
        else:
            self.unet = PlainUNet(self.channels, settings.width, settings.depth)
            self.last = nn.Conv2d(self.unet.out_channels, 1, 1)
            initialise(self)
            # The level must begin the same everywhere, or learning it does not settle.
            nn.init.zeros_(self.last.weight)

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the parameters with their learning rate, as an optimiser takes them.

        A lone number gets ten times the network's rate.
        """
        haste = _HASTE if self.scope == "stack" else 1.0
        return [{"params": list(self.parameters()), "lr": haste * rate}]

    def level(self, planes: Tensor) -> Tensor:
        """Return σ, 1/λ or α: a number, or (N, 1, …) that fits the family's values.

        As in the paper, for data with a range of 1.

        Parameters
        ----------
        planes
            (N, maps, Y, X), what the network sees.
        """
        if self.scope == "stack":
            told = self.strength
        else:
            seen = pad_high(planes[:, self._centre], self.stride)
            height, width = planes.shape[-2:]
            maps = self.unet(seen)[..., :height, :width].mean((-2, -1), keepdim=True)
            with full_precision(maps):  # the mean first: the last layer is linear
                told = self.last(maps.to(self.last.weight.dtype))
            told = told if self.channels > 1 else told[:, 0]
        level = functional.softplus(told - _OUTSET) + _LEAST
        return level.clamp(max=_MOST_OUTLIERS) if self.family == "impulse" else level

    def likelihood(self, planes: Tensor, frozen: Affine) -> Any:
        """Return the family of noise with the level as it is learned by now.

        Parameters
        ----------
        planes
            (N, maps, Y, X), what the network sees.
        frozen
            The noise that is not learned; it is the ordinary noise among outliers,
            and has no meaning for ``"gaussian"`` and ``"poisson"``.

        Returns
        -------
        Likelihood or JointLikelihood
            For one channel or several together.
        """
        level, joint = self.level(planes), self.channels > 1
        if self.family == "impulse":
            kind = JointImpulse if joint else Impulse
            return kind(frozen.a, frozen.b, frozen.floor, level, *self.outliers)
        affine = JointAffine if joint else Affine
        if self.family == "gaussian":
            return affine(0.0, (self.full * level) ** 2, (self.full * _LEAST) ** 2)
        # n = q·max(μ − dark, 1e-3) for a range of 1
        slope = self.full * level
        return affine(slope, -slope * self.dark, _LEAST * self.full * slope)

    def regulariser(self, likelihood: Any, mean: Tensor) -> Tensor:
        """Return the reward for noise, −0.1·σ_n, averaged over all pixels.

        For data with a range of 1; −0.2·σ_n for several channels, whose likelihood
        the paper takes by half; none for outliers.

        Parameters
        ----------
        likelihood
            What `likelihood` returned.
        mean
            The prior mean, at which the noise variance is taken.
        """
        if self.family == "impulse":
            return torch.zeros((), device=mean.device)
        weight = _JOINT_REWARD if self.channels > 1 else _REWARD
        deviation: Tensor = likelihood.variance(mean).sqrt()
        return -weight / self.full * deviation.mean()

    @torch.no_grad()
    def start_at(self, value: float) -> None:
        """Begin at what `value` is to return, as near as the limits of the level allow.

        For scope ``"stack"``.
        """
        level = value / self.full if self.family == "gaussian" else value
        level = 1 / value if self.family == "poisson" else level
        above = max(level - _LEAST, _LEAST / 10)
        self.strength.fill_(_OUTSET + above + math.log(-math.expm1(-above)))

    @torch.no_grad()
    def value(self, planes: Tensor | None = None) -> float:
        """Return what was learned: σ in network units, λ photons at full range, or α.

        Parameters
        ----------
        planes
            Of scope ``"image"``: the images (N, maps, Y, X); the mean level of them.

        Raises
        ------
        InputError
            If the level differs from image to image and none is given.
        """
        if planes is None:
            if self.scope == "image":
                raise InputError(
                    "planes=None, but this noise level was learned per image; give "
                    "the images whose level you want."
                )
            planes = torch.empty(0)
        level = float(self.level(planes).mean())
        if self.family == "gaussian":
            return self.full * level
        return 1 / level if self.family == "poisson" else level
