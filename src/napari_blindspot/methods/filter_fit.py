"""Fit the blind filter to the stack: the best linear average around the hole.

Least squares of the noisy centre on means over rings of surrounding voxels. The
centre's noise is independent of what the filter sees, so the fit against noisy values
finds the filter that is best for the clean ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_blindspot.errors import InputError
from napari_blindspot.networks.blind_filter import RADIUS
from napari_blindspot.noise.likelihood import mapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import BlindSpotNetwork
    from napari_blindspot.noise.likelihood import Likelihood

_RIDGE = 1e-4  # of the mean eigenvalue: keeps nearly equal rings from fighting
_LEAST_SPREAD = 0.02  # of the noise variance: the prior is never certain at first


def fit_filter(
    network: BlindSpotNetwork,
    crops: Iterable[tuple[Tensor, Tensor, Likelihood]],
    kind: int = 0,
) -> None:
    """Set the network's blind filter and the scales of its answers.

    Parameters
    ----------
    network
        Its `start`, `unit` and `spread` are set in place.
    crops
        Batches of planes (N, 2·context + 1, S, S) in network units, of targets
        (N, S, S), 1 where the centre counts, and of their noise. At 5 photons the
        filter of 60 weights wants half a million voxels.
    kind
        Which of the network's starts is set; all crops are of that channel.

    Raises
    ------
    InputError
        If there is no target in all the crops.
    """
    context = network.settings.context
    visible = network.start.visible(network.settings.hole)[0].cpu()
    masks = [mask * visible for mask in ring_masks(context)]
    masks = [mask for mask in masks if mask.sum() > 0]
    in_noise = network.eyes is not None
    sums, seen, voxels = Sums.zeros(len(masks), in_noise=in_noise), 0.0, 0
    for planes, target, noise in crops:
        if network.eyes is not None and seen == 0:
            a, b, floor = (float(p.mean()) for p in (noise.a, noise.b, noise.floor))
            network.eyes.fit(a, b, floor, kind)
        seen += float(target.sum())
        if not masks:
            continue
        voxels = sums.add(*ring_voxels(planes, target, noise, masks))
    if seen == 0:
        where = "the stack" if network.settings.starts == 1 else f"channel {kind}"
        raise InputError(
            f"no voxel of {where} can be learnt from: what was looked at is missing "
            f"(NaN), infinite or saturated; choose a region or channel with more data."
        )
    if voxels <= len(masks):
        return  # nothing lies around the hole, so the plain average stays
    weights = sums.weights()
    kernel = sum(
        float(w) * mask / mask.sum() for w, mask in zip(weights, masks, strict=True)
    )
    network.start.kernel[kind].copy_(torch.as_tensor(kernel))
    squares, noise_part = sums.squares(weights), sums.noise / voxels
    spread = max(squares - noise_part, _LEAST_SPREAD * noise_part) ** 0.5
    network.unit.view(-1)[kind].fill_(squares**0.5)
    network.spread.view(-1)[kind].fill_(spread)


@dataclass(slots=True)
class Sums:
    """What least squares needs to know of all voxels, summed batch by batch.

    With r the mean over all rings, the weights minimise
    Σ (y − r − Σ_j w_j (ring_j − r))² / n, which makes them sum to one.

    Parameters
    ----------
    normal, right
        Sums of products of (ring_j − r) with each other and with y − r, over n.
    plain
        Sums of products of (ring_0 − r, …, y − r), not weighted, or over n.
    in_noise
        Whether `plain` is over n.
    noise
        Sum of the noise variance, or of ones: over n.
    voxels
        How many.
    """

    normal: NDArray[np.float64]
    right: NDArray[np.float64]
    plain: NDArray[np.float64]
    in_noise: bool = False
    noise: float = 0.0
    voxels: int = 0

    @classmethod
    def zeros(cls, rings: int, *, in_noise: bool = False) -> Sums:
        """Start with nothing."""
        square, both = np.zeros((rings, rings)), np.zeros((rings + 1, rings + 1))
        return cls(square, np.zeros(rings), both, in_noise)

    def add(
        self,
        rings: NDArray[np.float64],
        y: NDArray[np.float64],
        noise: NDArray[np.float64],
    ) -> int:
        """Take voxels into account; returns how many there are by now.

        Parameters
        ----------
        rings
            (voxels, rings) means over each ring.
        y, noise
            (voxels,) noisy centre and its noise variance.
        """
        reference = rings.mean(1)
        design = rings - reference[:, None]
        left = (design / noise[:, None]).T
        self.normal += left @ design
        self.right += left @ (y - reference)
        both = np.column_stack([design, y - reference])
        per = noise if self.in_noise else np.ones_like(noise)
        self.plain += (both / per[:, None]).T @ both
        self.noise += float((noise / per).sum())
        self.voxels += len(y)
        return self.voxels

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the rings, summing to 1."""
        n = len(self.normal)
        if n == 1:
            return np.ones(1)
        # The rings' deviations from their mean sum to zero: one of them says nothing.
        inner = self.normal[1:, 1:]
        ridge = _RIDGE * np.trace(inner) / (n - 1) * np.eye(n - 1)
        free = np.concatenate([[0.0], np.linalg.solve(inner + ridge, self.right[1:])])
        # y ≈ r + Σ free·(ring − r): back to plain weights.
        weights: NDArray[np.float64] = free + (1 - free.sum()) / n
        return weights

    def squares(self, weights: NDArray[np.float64]) -> float:
        """Return the mean of (y − Σ w·ring)², or of that over n; weights sum to one."""
        side = np.append(-weights, 1.0)
        return float(side @ self.plain @ side) / self.voxels


def ring_voxels(
    planes: Tensor, target: Tensor, noise: Likelihood, masks: list[Tensor]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return ring means, noisy centre and noise variance of the targets inside."""
    inner = slice(RADIUS, planes.shape[-1] - RADIUS)
    rings = ring_means(planes, masks)[..., inner, inner]
    counts = target[:, inner, inner] > 0
    cut = mapped(lambda p: p[..., inner, inner] if p.shape[-1] > 1 else p, noise)
    n = cut.variance(rings.mean(1))[counts]
    y = planes[:, planes.shape[1] // 2, inner, inner][counts]
    return (
        rings.permute(0, 2, 3, 1)[counts].double().numpy(),
        y.double().numpy(),
        n.double().numpy(),
    )


def ring_masks(context: int) -> list[Tensor]:
    """Return which taps share a weight: equal |dz| and equal {|dy|, |dx|}.

    Each mask is (2·context + 1, size, size).
    """
    side = torch.arange(-RADIUS, RADIUS + 1).abs()
    short = torch.minimum(side[:, None], side[None, :])
    long = torch.maximum(side[:, None], side[None, :])
    distance = torch.arange(-context, context + 1).abs()
    return [
        ((distance == dz)[:, None, None] & (long == far) & (short == near)).float()
        for dz in range(context + 1)
        for far in range(RADIUS + 1)
        for near in range(far + 1)
    ]


def ring_means(planes: Tensor, masks: list[Tensor]) -> Tensor:
    """Return the mean over every ring around every pixel, (N, rings, S, S)."""
    kernels = torch.stack([mask / mask.sum() for mask in masks])
    means = planes.new_zeros(len(planes), len(masks), *planes.shape[-2:])
    for plane in range(planes.shape[1]):
        # Most rings lie in one or two planes; those of a plane go together.
        here = kernels[:, plane].flatten(1).any(1)
        if here.any():
            means[:, here] += functional.conv2d(
                planes[:, plane, None], kernels[here, plane, None], padding=RADIUS
            )
    return means
