"""Blind2Grad (Song et al. 2025): values and gradients of hidden voxels.

A network f tells voxels that are hidden from it, f(Ω(y)), and the whole image, f(y).
With dc = f(Ω(y)) − y and dg = ∇f(y) − ∇f(Ω(y)) the loss is, on hidden voxels,

    mean over directions k of dc² + (ω·dg_k)²  +  γ·dc²,

equation (3.9) without the product of dc and dg. With it, as printed, and with gradients
flowing through f(y), the loss rewards an f(y) that follows the noise: the optimum of a
linear f is then worse than the noisy image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_blindspot.config.blind2grad import omega_of
from napari_blindspot.joint import of_channel
from napari_blindspot.methods.criterion import Criterion
from napari_blindspot.methods.masks import at_random, detail_of, dual, on_a_grid
from napari_blindspot.networks.blind2grad import (
    by_channel,
    filled,
    forward_differences,
)
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.networks.precision import half_where_it_pays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config.blind2grad import Blind2GradSettings, LossForm
    from napari_blindspot.networks.blind2grad import Blind2GradNetwork
    from napari_blindspot.networks.blindspot import Hole

FIRST_ROUND = 0.1
"""Part of the budget in which masks are Bernoulli: the first estimates tell nothing."""

_LEAST_ERROR = 1e-12
_MASK, _DROP, _SCORE = range(3)  # what random numbers are drawn for


def gradient_loss(
    values: Tensor,
    gradients: Sequence[Tensor],
    omega: float,
    gamma: float,
    form: LossForm = "decoupled",
) -> Tensor:
    """Return the loss voxel by voxel.

    Parameters
    ----------
    values
        dc, how far the answer is off the noisy value.
    gradients
        dg, one for every direction, each like `values`.
    omega, gamma
        Weights of the gradients, and of the values by themselves.
    form
        ``"decoupled"`` dc² + ω²·dg², ``"absolute"`` (|dc| + ω|dg|)², or ``"signed"``
        (dc + ω·dg)² as printed; γ·dc² is added to each.
    """
    squares = []
    for gradient in gradients:
        if form == "absolute":
            squares.append((values.abs() + omega * gradient.abs()) ** 2)
        elif form == "signed":
            squares.append((values + omega * gradient) ** 2)
        else:
            squares.append(values**2 + (omega * gradient) ** 2)
    mean: Tensor = sum(squares, torch.zeros_like(values)) / len(squares)
    return mean + gamma * values**2


class MaskedObjective(Criterion):
    """The loss of a batch of crops, under masks of its own.

    Parameters
    ----------
    network
        Sees the crops.
    settings
        Masks and loss.
    seed
        Of the masks.
    z_weight
        Size of a voxel in the plane over its size along z, by which differences from
        plane to plane are multiplied; None: they do not count.
    """

    def __init__(
        self,
        network: Blind2GradNetwork,
        settings: Blind2GradSettings,
        seed: int = 0,
        z_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.network: Blind2GradNetwork = network
        self.settings = settings
        self.seed = seed
        self.z_weight = z_weight
        self._step, self._spent = 0, 0.0

    def begin_step(self, step: int, spent: float) -> None:
        """Say which step comes, from 1, and which part of the budget is spent.

        Its masks follow from its number, so a training that was stopped goes on with
        those that it would have had.
        """
        self._step, self._spent = step, spent

    def forward(
        self,
        planes: Tensor,
        target: Tensor,
        noise: Any,
        kind: Tensor | None = None,
        hole: Hole | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a scalar.

        Parameters
        ----------
        planes, target, noise
            As of `score`; NaN where a voxel has no value.
        kind, hole
            Without meaning: channels are alike to it, and it has no blind spot.
        """
        del kind, hole
        y, live = self.network.centre(planes), self.settings.gradient_flow == "live"
        first = by_channel(y)[:, 0]  # masks are the same for all channels
        with half_where_it_pays(planes.device), torch.set_grad_enabled(live):
            whole = self._answers(planes)
        estimate = whole[0].detach()
        y = torch.where(y.isfinite(), y, estimate)  # no detail, and never a target
        hidden = self._hidden(y, estimate, noise)
        seen, spared = (~hidden).to(y.dtype), self.network.spared(estimate)
        dropped = self._chance(_DROP, halved(first))
        with half_where_it_pays(planes.device):
            said = self._answers(planes, seen, spared, dropped)
        gradients = self._gradients(whole, said)
        omega, form = omega_of(self.settings), self.settings.loss_form
        if self.settings.gradient_at == "hidden":
            loss = gradient_loss(
                said[0] - y, gradients, omega, self.settings.gamma, form
            )
            return _mean(loss, hidden * target)
        only = (said[0] - y) * _of_all(hidden, y)
        loss = gradient_loss(only, gradients, omega, self.settings.gamma, form)
        counts = _of_all(hidden * target, y).sum().clamp(min=1)
        return (loss * _of_all(target, y)).sum() / counts

    def score(
        self, planes: Tensor, target: Tensor, noise: Any, kind: Tensor | None = None
    ) -> Tensor:
        """Return the logarithm of the mean squared error on hidden voxels, a scalar.

        The masks are always the same, so scores can be compared.
        """
        del noise, kind
        y = filled(self.network.centre(planes))  # never a target where it is filled
        keys = key(
            self.seed, _SCORE, torch.arange(len(y), device=y.device), device=y.device
        )
        chance = _spread(keys, by_channel(y)[:, 0])
        hidden = at_random(chance, self.settings.mask_rate)
        with half_where_it_pays(planes.device):
            said = self.network(planes, (~hidden).to(y.dtype))
        return _mean((said - y) ** 2, hidden * target).clamp(min=_LEAST_ERROR).log()

    def _answers(self, planes: Tensor, *masked: Tensor) -> list[Tensor]:
        """Return what the network says of the centre plane, and of the next if asked.

        That one is seen under the same mask, and beyond the last plane that was read
        the last one stands again. It learns nothing here: it sees the hidden voxels,
        which lie in its neighbour plane, and would learn to follow their noise. Of the
        outermost planes of a stack the next one is the mirrored one before, so they
        have no difference: what is said of them stands twice.
        """
        said = [self.network(planes, *masked)]
        if self.z_weight is not None:
            one = self.network.settings.channels  # maps of a plane
            beside = torch.cat([planes[:, one:], planes[:, -one:]], dim=1)
            with torch.no_grad():
                next_ = self.network(beside, *masked)
            mirrored = _of_all(self._is_mirrored(planes), next_)
            said.append(torch.where(mirrored, said[0], next_))
        return said

    def _is_mirrored(self, planes: Tensor) -> Tensor:
        """Return which crops have the same plane on either side, (N, 1, 1) bool."""
        settings = self.network.settings
        before, _, after = (
            planes[:, index * settings.channels : (index + 1) * settings.channels]
            for index in range(settings.context - 1, settings.context + 2)
        )
        same = (before == after) | ~before.isfinite()
        return torch.as_tensor(same.flatten(1).all(dim=1)[:, None, None])

    def _gradients(self, whole: list[Tensor], said: list[Tensor]) -> list[Tensor]:
        """Return dg, direction by direction."""
        weight = 1.0 if self.z_weight is None else self.z_weight
        pairs = zip(
            gradients_of(whole, weight), gradients_of(said, weight), strict=True
        )
        return [one - other for one, other in pairs]

    def _hidden(self, y: Tensor, estimate: Tensor, noise: Any) -> Tensor:
        """Return which voxels this step hides, (N, Y, X) bool."""
        settings = self.settings
        chance = self._chance(_MASK, by_channel(y)[:, 0])
        if settings.mask == "uniform":
            return on_a_grid(chance, settings.mask_rate)
        if settings.mask == "bernoulli" or self._spent < FIRST_ROUND:
            return at_random(chance, settings.mask_rate)
        detail = self._detail(y, estimate, noise)
        return dual(chance, settings.mask_rate, detail, settings.detail_share)

    def _detail(self, y: Tensor, estimate: Tensor, noise: Any) -> Tensor:
        """Return where there is detail, in one of the channels or more."""
        eps, by = self.settings.eps_g, self.settings.detail_by
        if y.ndim == 3:
            return detail_of(y, estimate, noise, eps, by)
        found = [
            detail_of(y[:, c], estimate[:, c], of_channel(noise, c), eps, by)
            for c in range(y.shape[1])
        ]
        return torch.stack(found).any(dim=0)

    def _chance(self, purpose: int, like: Tensor) -> Tensor:
        """Return random numbers of this step, in the shape of `like`."""
        images = torch.arange(len(like), device=like.device)
        keys = key(self.seed, purpose, self._step, images, device=like.device)
        return _spread(keys, like)


def gradients_of(planes: Sequence[Tensor], z_weight: float = 1.0) -> list[Tensor]:
    """Return the forward differences of a plane: down, right, and to the next plane.

    Parameters
    ----------
    planes
        The plane, (..., Y, X), and the next one where there is one.
    z_weight
        Factor of the last direction.
    """
    first, *beside = planes
    found = [*forward_differences(first)]
    return [*found, *(z_weight * (one - first) for one in beside)]


def halved(y: Tensor) -> Tensor:
    """Return an image of half the size, rounded up, for its shape."""
    return y[:, ::2, ::2]


def _spread(keys: Tensor, like: Tensor) -> Tensor:
    """Return random numbers of some keys for every pixel of some images."""
    rows, columns = (torch.arange(size, device=like.device) for size in like.shape[1:])
    return uniform(keys, rows, columns)


def _of_all(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask (N, Y, X) for all channels, in the shape of `like`."""
    whole = mask if like.ndim == mask.ndim else mask[:, None]
    return whole.expand_as(like)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    weight = _of_all(weight, values)
    mean: Tensor = (values * weight).sum() / weight.sum().clamp(min=1)
    return mean
