"""What every method brings to a training step: a network with its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindspot.networks.blindspot import Hole


class Criterion(nn.Module):
    """The loss of a batch, as a module that holds all that is trained.

    Its `network` is what is kept of it.
    """

    network: Any

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the parameters with their learning rates, as an optimiser takes them.

        Parameters
        ----------
        rate
            That of the network.
        """
        return [{"params": list(self.parameters()), "lr": rate}]

    def begin_step(self, step: int, spent: float) -> None:
        """Say which step comes, from 1, and which part of the budget is spent."""

    def turn(self, hole: Hole) -> None:
        """Train the network for another hole from now on, if it has one."""

    def score(
        self, planes: Tensor, target: Tensor, noise: Any, kind: Tensor | None = None
    ) -> Tensor:
        """Return what tells on held-out voxels how well it does; less is better.

        Parameters
        ----------
        planes
            (N, maps, Y, X) in network units.
        target
            (N, Y, X), 1 where the centre plane's voxel counts.
        noise
            Noise of the batch.
        kind
            (N,) int64, which channel every image is of.

        Returns
        -------
        Tensor
            A scalar.
        """
        raise NotImplementedError

    def gap(self, score: float, other: float) -> float:
        """Return by how much a score is worse than another, of −2·log p of a voxel."""
        return score - other
