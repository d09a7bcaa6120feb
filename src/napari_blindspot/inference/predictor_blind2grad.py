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
from napari_blindspot.methods.masks import in_turn
from napari_blindspot.networks.chance import key, uniform
from napari_blindspot.networks.precision import half_where_it_pays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_blindspot.inference.predictor import Corner
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.networks.views import Core
    from napari_blindspot.noise.likelihood import Likelihood

AROUND = 31
"""Reach of the window in which the error of the answer is measured, pixels."""

_LEAST_VARIANCE = 1e-10
_MASK, _DROP = 3, 4  # what random numbers are drawn for; training draws for others


class MaskedPredictor(Predictor):
    """Answers of a masked network, in data units; as `Predictor`, no uncertainty."""

    def _bytes_per_pixel(self) -> int:
        # Measured on a CPU with 8 to 32 channels, and rounded up.
        return (60 + 7 * self.model.settings.width) * self._item_bytes

    def answers(
        self,
        maps: NDArray[np.float32],
        noise: Likelihood,
        channel: int,
        holes: Sequence[Hole],
    ) -> Tensor:
        """Return what the model says, (1, N, Y, X); it has no `holes`."""
        del holes
        with torch.inference_mode():
            planes, _ = self._input(maps, channel)
            said = self._said(planes, self._on_device(noise), (0, 0, 0))
        return said[None].clone()

    @property
    def _cuts_cores(self) -> bool:
        return False  # every piece would need its whole halo

    def _run(
        self,
        t: NDArray[np.float32],
        noise: Any,
        missing: NDArray[np.bool_],
        channel: int,
        corner: Corner = (0, 0, 0),
        core: Core | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        del core  # its network looks to all sides
        with torch.inference_mode():
            planes, _ = self._input(t, channel)
            gaps = torch.from_numpy(missing).to(planes.device)
            said = self._said(planes, self._on_device(noise), corner, gaps)
            mean = said.cpu().numpy()
        return mean, np.zeros_like(mean)

    def _said(
        self,
        planes: Tensor,
        noise: Any,
        corner: Corner,
        missing: Tensor | None = None,
    ) -> Tensor:
        """Return the result for the centre planes, (N, Y, X) in network units."""
        settings = self.network.settings
        with half_where_it_pays(self.device):
            whole = self.network(planes)
        if settings.average == "none" and not settings.combine:
            return torch.as_tensor(whole)
        every, hidden = torch.zeros_like(whole), torch.zeros_like(whole)
        count = torch.zeros_like(whole)
        for mask, said in self._passes(planes, whole, corner):
            every += said
            hidden += said * mask
            count += mask
        mean = every / settings.passes
        # Rounding leaves a voxel in a million out of all masks.
        unseen = torch.where(count > 0, hidden / count.clamp(min=1), mean)
        if settings.combine:
            return combined(self.network.centre(planes), unseen, noise, missing)
        return unseen if settings.average == "hidden" else mean

    def _passes(
        self, planes: Tensor, whole: Tensor, corner: Corner
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return what every pass hides, 1 or 0, and what it says."""
        settings, device = self.network.settings, planes.device
        index = corner[0] + torch.arange(len(planes), device=device)
        rows, columns = (
            start + torch.arange(size, device=device)
            for start, size in zip(corner[1:], whole.shape[1:], strict=True)
        )
        half_rows, half_columns = rows[::2] // 2, columns[::2] // 2
        turns = math.ceil(1 / settings.mask_rate)
        chance, spared = whole, self.network.spared(whole)
        for number in range(settings.passes):
            round_, turn = divmod(number, turns)
            if turn == 0:
                keys = key(settings.seed, _MASK, round_, index, device=device)
                chance = uniform(keys, rows, columns)
            mask = in_turn(chance, settings.mask_rate, turn).to(whole.dtype)
            dropped = uniform(
                key(settings.seed, _DROP, number, index, device=device),
                half_rows,
                half_columns,
            )
            with half_where_it_pays(self.device):
                yield mask, self.network(planes, 1 - mask, spared, dropped)

    def _halo(self) -> int:
        own, more = int(self.network.halo()), self.network.settings.combine
        return own + AROUND if more else own


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
