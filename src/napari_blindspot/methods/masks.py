"""Which voxels are hidden: masks of Blind2Grad (Song et al. 2025, section 3.1).

1 stands for hidden here. All masks are made of uniform random numbers, one for each
voxel, so that they belong to a place and a seed and not to the order of drawing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from napari_blindspot.networks.blind2grad import GREY_LEVELS

if TYPE_CHECKING:
    from napari_blindspot.config.blind2grad import DetailBy

_BEYOND_NOISE = 2.5  # standard deviations of the mean over 3×3


def at_random(chance: Tensor, rate: float) -> Tensor:
    """Return a Bernoulli mask: every voxel is hidden with the same probability.

    Parameters
    ----------
    chance
        (N, Y, X) uniform in [0, 1).
    rate
        Probability.

    Returns
    -------
    Tensor
        (N, Y, X) bool.
    """
    return chance < rate


def in_turn(chance: Tensor, rate: float, index: int) -> Tensor:
    """Return one of several Bernoulli masks that hide every voxel equally often.

    Of ``⌈1/rate⌉`` masks with the same `chance` every voxel is in at least one, and for
    a rate of 1/n in exactly one of n.

    Parameters
    ----------
    chance, rate
        As of `at_random`.
    index
        Which of the masks.
    """
    return (chance + index * rate) % 1 < rate


def on_a_grid(chance: Tensor, rate: float) -> Tensor:
    """Return a mask that hides one voxel of every square, always the same one.

    Parameters
    ----------
    chance
        (N, Y, X) uniform in [0, 1); the first two numbers of an image tell which.
    rate
        1/n² for squares of n×n.
    """
    height, width = chance.shape[1:]
    side = round(rate**-0.5)
    first = (chance.flatten(1)[:, :2] * side).long()
    rows = torch.arange(height, device=chance.device) % side
    columns = torch.arange(width, device=chance.device) % side
    row = (rows == first[:, :1])[:, :, None]
    column = (columns == first[:, 1:])[:, None, :]
    return torch.logical_and(row, column)


def dual(chance: Tensor, rate: float, detail: Tensor, share: float) -> Tensor:
    """Return a mask that hides less where there is detail, and as much in all.

    It begins as a Bernoulli mask. Of what that hides in detail a part is shown, and the
    same number of voxels is hidden elsewhere.

    Parameters
    ----------
    chance, rate
        As of `at_random`.
    detail
        (N, Y, X) bool.
    share
        The part, 0 to 1; below 0 detail and elsewhere change places.

    Returns
    -------
    Tensor
        (N, Y, X) bool.
    """
    hidden = at_random(chance, rate)
    pairs = zip(hidden, chance, detail, strict=True)
    return torch.stack([_exchanged(*one, share) for one in pairs])


def _exchanged(hidden: Tensor, chance: Tensor, detail: Tensor, share: float) -> Tensor:
    """Exchange hidden voxels of one image for others, those nearest to the rate."""
    count = round(abs(share) * int((hidden & detail).sum()))
    shown, into = (detail, ~detail) if share > 0 else (~detail, detail)
    giving, taking = hidden & shown, ~hidden & into
    count = min(count, int(giving.sum()), int(taking.sum()))
    if count == 0:
        return hidden
    given = torch.where(giving, chance, -1.0).flatten().topk(count).indices
    taken = torch.where(taking, -chance, -2.0).flatten().topk(count).indices
    changed = hidden.flatten().clone()
    changed[given], changed[taken] = False, True
    return changed.view_as(hidden)


def detail_of(
    y: Tensor, estimate: Tensor, noise: Any, eps_g: float, by: DetailBy = "smooth"
) -> Tensor:
    """Return where the noisy image and its estimate are so far apart as to be detail.

    Parameters
    ----------
    y, estimate
        (N, Y, X) in network units.
    noise
        Its variance at the estimate broadcasts to (N, Y, X).
    eps_g
        Least distance, grey levels out of 255.
    by
        ``"pixel"``: the distance of every pixel, as in the paper. With it the noise
        alone makes a detail of every tenth pixel at σ = 25. ``"smooth"``: the distance
        of the means over 3×3, which must also exceed what the noise makes of them.

    Returns
    -------
    Tensor
        (N, Y, X) bool.
    """
    least = eps_g / GREY_LEVELS
    apart = y - estimate
    if by == "pixel":
        return apart.abs() >= least
    framed = functional.pad(apart[:, None], (1, 1, 1, 1), mode="replicate")
    smooth = functional.avg_pool2d(framed, 3, stride=1)[:, 0]
    scatter = _BEYOND_NOISE / 3 * torch.sqrt(noise.variance(estimate))
    return (smooth.abs() >= least) & (smooth.abs() >= scatter)
