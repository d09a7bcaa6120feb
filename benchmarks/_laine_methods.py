"""The methods of Laine et al. 2019 on photographs, each as a loss and an answer.

All of them are trained by `_laine_fit.fit`, for the same seconds, with the same
optimiser, schedule and averaging of weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from _photos import draw_crops
from napari_blindspot.methods.filter_fit import fit_filter
from napari_blindspot.methods.filter_fit_joint import fit_joint_filter
from napari_blindspot.methods.learned_noise import NoiseLearner
from napari_blindspot.networks.blindspot import BlindSpotNetwork, pad_high
from napari_blindspot.networks.plain import PlainUNet
from napari_blindspot.networks.unet import initialise
from napari_blindspot.noise.covariance import JointAffine, JointImpulse
from napari_blindspot.noise.likelihood import Affine, Impulse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from _laine_fit import Effort
    from _photos import Line, Noise, Photo, Scale
    from napari_blindspot.config import NetworkSettings

_FILTER_VOXELS = 6 * 10**5
_FILTER_BATCH = 24
_MASKED = 0.01  # of the pixels of a crop
_ROI = 5  # px: a masked pixel takes the value of another one this near

Knowledge = Literal["known", "estimated", "learned", "mean"]


class UNetDenoiser(nn.Module):
    """A plain U-Net that sees the whole image, as wide in the last layers as ours."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.stride = 2**depth
        self.net = PlainUNet(channels, width, depth)
        self.last = nn.Conv2d(2 * width, channels, 1)
        initialise(self)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, Y, X) to (N, C, Y, X): the image and a correction."""
        height, width = x.shape[-2:]
        features = self.net(pad_high(x, self.stride))[..., :height, :width]
        out: Tensor = x + self.last(features)
        return out


def unet_like(settings: NetworkSettings) -> UNetDenoiser:
    """Return the plain U-Net whose parameter count is nearest to ours."""
    wanted = count(BlindSpotNetwork(settings))
    nets = (
        UNetDenoiser(settings.channels, width, settings.depth) for width in range(4, 80)
    )
    return min(nets, key=lambda net: abs(count(net) - wanted))


def count(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in network.parameters())


class Supervised:
    """N2C or N2N: squared error against the clean, or a second noisy image.

    Noise is drawn anew at each step, so there is no end of training images.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        images: Sequence[NDArray[np.float32]],
        noise: Noise,
        scale: Scale,
        effort: Effort,
        *,
        clean_targets: bool,
    ) -> None:
        torch.manual_seed(effort.seed)
        self.module: nn.Module = unet_like(settings)
        self.images, self.noise, self.effort = images, noise, effort
        self.scale, self.clean_targets = scale, clean_targets

    def groups(self, rate: float) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": rate}]

    def loss(self, rng: np.random.Generator) -> Tensor:
        crops, _ = draw_crops(self.images, self.effort.crop, self.effort.batch, rng)
        pairs = [self._pair(crop, rng) for crop in crops]
        noisy, target = (
            to_tensor(self.scale.forward(np.stack(side)))
            for side in zip(*pairs, strict=True)
        )
        return ((self.module(noisy) - target) ** 2).mean()

    def _pair(
        self, clean: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        level = self.noise.level(rng)
        noisy = self.noise.add(clean, level, rng)
        if self.clean_targets:
            return noisy, clean
        other = self.noise.add(clean, level, rng)
        return noisy, unbiased(other, self.noise, level)

    @torch.no_grad()
    def denoise(self, photo: Photo) -> NDArray[np.float32]:
        noisy = to_tensor(self.scale.forward(photo.noisy[None]))
        return self.scale.inverse(self.module(noisy)[0].numpy())


class Masking(Supervised):
    """Noise2Void on the same U-Net: masked pixels alone count, in all channels."""

    def __init__(
        self,
        settings: NetworkSettings,
        photos: Sequence[Photo],
        noise: Noise,
        scale: Scale,
        effort: Effort,
    ) -> None:
        images = [scale.forward(photo.noisy) for photo in photos]
        super().__init__(settings, images, noise, scale, effort, clean_targets=False)

    def loss(self, rng: np.random.Generator) -> Tensor:
        noisy, _ = draw_crops(self.images, self.effort.crop, self.effort.batch, rng)
        mask = rng.random((len(noisy), *noisy.shape[2:])) < _MASKED
        shown = noisy.copy()
        n, y, x = np.nonzero(mask)
        shown[n, :, y, x] = noisy[n, :, *replacements(y, x, noisy.shape[-1], rng)]
        weight = torch.from_numpy(mask[:, None].astype(np.float32))
        error = (self.module(to_tensor(shown)) - to_tensor(noisy)) ** 2
        return (error * weight).sum() / (weight.sum() * noisy.shape[1])


class BlindSpot:
    """Ours: half-planes and the posterior, with the noise known or not.

    Parameters
    ----------
    knowledge
        ``"known"`` noise, ``"estimated"`` from each image and frozen, ``"learned"``
        with the network, or ``"mean"``: squared error and no posterior.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        photos: Sequence[Photo],
        noise: Noise,
        scale: Scale,
        effort: Effort,
        knowledge: Knowledge,
    ) -> None:
        torch.manual_seed(effort.seed)
        self.settings, self.noise, self.effort = settings, noise, effort
        self.scale, self.knowledge, self.photos = scale, knowledge, photos
        self.images = [scale.forward(photo.noisy) for photo in photos]
        self.network = BlindSpotNetwork(settings)
        self.learner = self._learner() if knowledge == "learned" else None
        self.module: nn.Module = nn.ModuleList(
            [self.network] if self.learner is None else [self.network, self.learner]
        )
        self._begin(np.random.default_rng([effort.seed, 1]))

    def _learner(self) -> NoiseLearner:
        low, high = self._ends()
        return NoiseLearner(
            self.noise.kind,
            "image" if self.noise.varies else "stack",
            self.settings,
            full=high - low,
            dark=low,
            outliers=(low, high),
        )

    def _ends(self) -> tuple[float, float]:
        """Return black and white in network units."""
        return -self.scale.mean / self.scale.std, (1 - self.scale.mean) / self.scale.std

    def _begin(self, rng: np.random.Generator) -> None:
        """Fit the blind filters to some crops of the noisy images."""
        crops = []
        size = _FILTER_BATCH * self.effort.crop**2
        for _ in range(math.ceil(_FILTER_VOXELS / size)):
            noisy, which = draw_crops(self.images, self.effort.crop, _FILTER_BATCH, rng)
            planes = torch.from_numpy(noisy)
            target = torch.ones(len(noisy), *noisy.shape[2:])
            crops.append(
                (planes, target, self._frozen([self.photos[i] for i in which]))
            )
        fit = fit_filter if self.settings.channels == 1 else fit_joint_filter
        fit(self.network, crops)  # type: ignore[operator]
        self.network.wake()

    def groups(self, rate: float) -> list[dict[str, Any]]:
        own = {"params": list(self.network.parameters()), "lr": rate}
        return [own] if self.learner is None else [own, *self.learner.groups(rate)]

    def loss(self, rng: np.random.Generator) -> Tensor:
        noisy, which = draw_crops(self.images, self.effort.crop, self.effort.batch, rng)
        planes = to_tensor(noisy)
        prior = self.network(planes)
        y = self._values(planes)
        if self.knowledge == "mean":
            return ((y - prior.mean) ** 2).mean()
        likelihood = self._likelihood(planes, [self.photos[i] for i in which])
        loss = likelihood.negative_log_likelihood(y, *prior).mean()
        if self.learner is not None:
            loss = loss + self.learner.regulariser(likelihood, prior.mean)
        return loss

    @torch.no_grad()
    def denoise(
        self, photo: Photo, *, prior_alone: bool = False
    ) -> NDArray[np.float32]:
        planes = to_tensor(self.scale.forward(photo.noisy[None]))
        prior = self.network(planes)
        if self.knowledge == "mean" or prior_alone:
            mean = prior.mean
        else:
            likelihood = self._likelihood(planes, [photo])
            mean = likelihood.posterior(self._values(planes), *prior)[0]
        image = mean[0] if self.settings.channels > 1 else mean[0, ..., None]
        values = self.scale.inverse(image.movedim(-1, 0).numpy())
        if self.knowledge == "mean":
            values = unbiased(values, self.noise, photo.level)
        return values

    def learned(self, photo: Photo) -> float:
        """Return the learned strength, in the units of `Noise`."""
        assert self.learner is not None
        value = self.learner.value(to_tensor(self.scale.forward(photo.noisy[None])))
        return 255 * self.scale.std * value if self.noise.kind == "gaussian" else value

    def _values(self, planes: Tensor) -> Tensor:
        return planes[:, 0] if self.settings.channels == 1 else planes.movedim(1, -1)

    def _likelihood(self, planes: Tensor, photos: Sequence[Photo]) -> Any:
        frozen = self._frozen(photos)
        return (
            frozen if self.learner is None else self.learner.likelihood(planes, frozen)
        )

    def _frozen(self, photos: Sequence[Photo]) -> Any:
        """Return the noise of every image of a batch, true or estimated."""
        axes = (1,) * (2 if self.settings.channels == 1 else 3)
        joint = self.settings.channels > 1
        lines = [self.scale.line(self._line(photo)) for photo in photos]
        a, b, floor = (
            torch.tensor(side).reshape(-1, *axes) for side in zip(*lines, strict=True)
        )
        if self.noise.kind != "impulse":
            return (JointAffine if joint else Affine)(a, b, floor)
        share = torch.tensor([photo.level for photo in photos]).reshape(-1, *axes)
        ends = [torch.full((1, *axes), end) for end in self._ends()]
        return (JointImpulse if joint else Impulse)(a, b, floor, share, *ends)

    def _line(self, photo: Photo) -> Line:
        return photo.estimated if self.knowledge == "estimated" else photo.known  # type: ignore[return-value]


def unbiased(
    values: NDArray[np.float32], noise: Noise, level: float
) -> NDArray[np.float32]:
    """Bring values whose mean outliers pull to the middle back to the image."""
    if noise.kind != "impulse":
        return values
    return (values - np.float32(level / 2)) / np.float32(1 - level)


def replacements(
    y: NDArray[np.int64], x: NDArray[np.int64], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for every masked pixel another one near it, mirrored at the border."""
    dy, dx = (rng.integers(-_ROI, _ROI + 1, len(y)) for _ in range(2))
    dx[(dy == 0) & (dx == 0)] = 1

    def near(start: NDArray[np.int64], away: NDArray[np.int64]) -> NDArray[np.int64]:
        inside = (start + away >= 0) & (start + away < side)
        return np.where(inside, start + away, start - away)

    return near(y, dy), near(x, dx)


def to_tensor(values: NDArray[np.float32]) -> Tensor:
    """Turn images into a tensor as a CPU likes it."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.contiguous(memory_format=torch.channels_last)
