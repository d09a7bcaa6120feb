"""The border between numpy and torch for masked networks: many answers, one mean.

Which voxels a pass hides, and what it drops, follows from the seed and from the place
of a voxel in its series, so that tiles and whole planes get the same answer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_blindspot.inference.predictor import Predictor
from napari_blindspot.inference.predictor_joint import JointPredictor
from napari_blindspot.joint import of_channel
from napari_blindspot.methods.masks import in_turn
from napari_blindspot.networks.blind2grad import filled
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.networks.precision import half_where_it_pays
from napari_blindspot.progress import run

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.inference.answered import Bits
    from napari_blindspot.inference.predictor import Corner
    from napari_blindspot.networks.blind2grad import Blind2GradNetwork
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.networks.views import Core
    from napari_blindspot.noise.likelihood import Likelihood

AROUND = 31
"""Reach of the window in which the error of the answer is measured, pixels."""

_LEAST_VARIANCE = 1e-10
_MASK, _DROP = 3, 4  # what random numbers are drawn for; training draws for others


class MaskedPredictor(Predictor):
    """Answers of a masked network, in data units; as `Predictor`, no uncertainty.

    What is said of channels that are seen together is (N, C, Y, X) here.
    """

    _missing = math.nan

    def _bytes_per_pixel(self) -> int:
        # Measured on a CPU with widths of 8 to 32 and 1 to 12 channels, and rounded up.
        shape = self.model.settings
        floats = 68 + 7 * shape.width + 38 * (shape.channels - 1)
        return floats * self._item_bytes

    def answers(
        self,
        maps: NDArray[np.float32],
        noise: Likelihood,
        channel: int,
        holes: Sequence[Hole],
    ) -> Tensor:
        """Return what the model says, (1, N, Y, X); it has no `holes`.

        Of several channels (1, N, Y, X, C), as `Predictor` does.
        """
        del holes
        said = run(self._passed(maps, noise, channel, (0, 0, 0)))
        return (said if said.ndim == 3 else said.movedim(1, -1))[None]

    @property
    def _cuts_cores(self) -> bool:
        return False  # every piece would need its whole halo

    def _bits(
        self,
        t: NDArray[np.float32],
        noise: Any,
        missing: NDArray[np.bool_],
        channel: int,
        corner: Corner,
        core: Core | None,
    ) -> Bits:
        """Run pass by pass; as of `Predictor`."""
        del missing, core  # NaN tells what is missing; the network looks to all sides
        maps = t.reshape(len(t), -1, *t.shape[-2:])
        said = yield from self._passed(maps, noise, channel, corner)
        mean = said.cpu().numpy()
        return mean, np.zeros_like(mean)

    def _passed(
        self, maps: NDArray[np.float32], noise: Any, channel: int, corner: Corner
    ) -> Generator[float, None, Tensor]:
        """Average what the network says under many masks.

        Yields
        ------
        float
            Which part of the passes is done.

        Returns
        -------
        Tensor
            (N, Y, X) or (N, C, Y, X), the result for the centre planes in network
            units.
        """
        settings = self.network.settings
        planes, _ = self._input(maps, channel)
        whole = self._said(planes)
        if settings.average == "none" and not settings.combine:
            return whole
        every, hidden = torch.zeros_like(whole), torch.zeros_like(whole)
        count = torch.zeros_like(whole[:, :1] if whole.ndim == 4 else whole)
        drawn = Drawn(self.network, whole, corner)
        for number in range(settings.passes):
            mask, spared, dropped = drawn.at(number)
            said = self._said(planes, 1 - mask, spared, dropped)
            mask = mask if said.ndim == 3 else mask[:, None]
            every += said
            hidden += said * mask
            count += mask
            yield (number + 1) / settings.passes
        mean = every / settings.passes
        # Rounding leaves a voxel in a million out of all masks.
        unseen = torch.where(count > 0, hidden / count.clamp(min=1), mean)
        if settings.combine:
            return self._combined(planes, unseen, self._on_device(noise))
        return unseen if settings.average == "hidden" else mean

    def _combined(self, planes: Tensor, unseen: Tensor, noise: Any) -> Tensor:
        """Bring in the values of the centre planes, channel by channel."""
        y = self.network.centre(planes)
        missing, y = ~y.isfinite(), filled(y)
        if y.ndim == 3:
            return combined(y, unseen, noise, missing)
        each = [
            combined(y[:, c], unseen[:, c], of_channel(noise, c), missing[:, c])
            for c in range(y.shape[1])
        ]
        return torch.stack(each, dim=1)

    def _said(self, planes: Tensor, *masked: Tensor) -> Tensor:
        # Not around a `yield`, or it would hold for whoever listens.
        with torch.no_grad(), half_where_it_pays(self.device):
            return torch.as_tensor(self.network(planes, *masked))

    def _halo(self) -> int:
        own, more = int(self.network.halo()), self.network.settings.combine
        return own + AROUND if more else own


class JointMaskedPredictor(MaskedPredictor, JointPredictor):
    """Answers of a masked network for all channels of a plane, as `JointPredictor`."""


class Drawn:
    """What every pass hides, and what it drops.

    Parameters
    ----------
    network
        Says how often and what may be dropped.
    whole
        (N, Y, X) or (N, C, Y, X), what it says of planes of which nothing is hidden.
    corner
        Where they lie in their series (plane, row, column).
    """

    def __init__(
        self, network: Blind2GradNetwork, whole: Tensor, corner: Corner
    ) -> None:
        self.settings = network.settings
        self.spared = network.spared(whole)
        self.device = whole.device
        self.index = corner[0] + torch.arange(len(whole), device=self.device)
        self.rows, self.columns = (
            start + torch.arange(size, device=self.device)
            for start, size in zip(corner[1:], whole.shape[-2:], strict=True)
        )
        self.turns = math.ceil(1 / self.settings.mask_rate)
        self.chance = whole  # until the first pass

    def at(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return what a pass hides and spares, and the numbers that drop the rest.

        Passes are asked for in their order: several of them share their chances, so
        that together they hide every voxel.
        """
        settings = self.settings
        round_, turn = divmod(number, self.turns)
        if turn == 0:
            keys = key(settings.seed, _MASK, round_, self.index, device=self.device)
            self.chance = uniform(keys, self.rows, self.columns)
        mask = in_turn(self.chance, settings.mask_rate, turn).float()
        drop = key(settings.seed, _DROP, number, self.index, device=self.device)
        dropped = uniform(drop, self.rows[::2] // 2, self.columns[::2] // 2)
        return mask, self.spared, dropped


def combined(
    y: Tensor, answer: Tensor, noise: Any, missing: Tensor | None = None
) -> Tensor:
    """Bring in every voxel's own value, weighed by how far the answers around are off.

    An answer that has not seen the voxel is off by v on average, so that (y − answer)²
    is v + n on average, with the noise variance n. What is left of n in a window,
    without the voxel itself, tells v as a part of n, and the best linear estimate of
    the clean value follows. The window is large, because v is a few per cent of n, and
    the squares scatter by more than n.

    Parameters
    ----------
    y
        (N, Y, X) noisy values, network units.
    answer
        Of passes in which the voxel was hidden.
    noise
        Its parameters broadcast to (N, Y, X).
    missing
        (N, Y, X) bool, voxels that have no value; default: none.

    Returns
    -------
    Tensor
        (N, Y, X).
    """
    there = torch.ones_like(y) if missing is None else (~missing).to(y.dtype)
    expected = noise.variance(answer) * there
    found = (y - answer) ** 2 * there
    part = _around(found - expected) / _around(expected).clamp(min=_LEAST_VARIANCE)
    variance = part.clamp(min=0) * expected + _LEAST_VARIANCE
    mean: Tensor = noise.posterior(y, answer, variance)[0]
    return mean


def _around(values: Tensor) -> Tensor:
    """Return the sum over a window around every voxel, without the voxel itself."""
    size, whole = 2 * AROUND + 1, values[:, None]
    for axis in ((size, 1), (1, size)):
        margin = (axis[0] // 2, axis[1] // 2)
        whole = functional.avg_pool2d(whole, axis, 1, margin, divisor_override=1)
    return whole[:, 0] - values
