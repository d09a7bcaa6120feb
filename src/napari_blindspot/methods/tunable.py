"""Tunable blind spots (Chen et al. 2024): the objective.

The network learns behind a large blind spot, so that noise which neighbours share
cannot be guessed, and answers behind a smaller one, which gives back the detail. It
compares absolute values and needs no noise model, so it has no posterior either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindspot.networks.blindspot import Prior


def absolute_error(y: Tensor, prior: Prior, target: Tensor) -> Tensor:
    r"""Return the mean over targets of \|y − μ\|, a scalar.

    Its minimum is the median of the noise, not its mean; for few photons the two
    differ.

    Parameters
    ----------
    y
        (N, Y, X) noisy values, or (N, Y, X, C), in network units.
    prior
        The network's answer; its variance is not used.
    target
        (N, Y, X), 1 where the voxel counts, 0 where it does not.
    """
    error = (y - prior.mean).abs()
    if error.ndim > target.ndim:
        error = error.mean(-1)
    mean: Tensor = (error * target).sum() / target.sum().clamp(min=1)
    return mean
