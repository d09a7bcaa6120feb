"""What a training step minimises: the network with its loss, and the noise if learned.

With frozen noise this is the likelihood of `methods.bayesian` and nothing else. Noise
that is learned along with the network adds a number to the parameters and a reward for
noise to the loss (`methods.learned_noise`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from napari_blindspot.methods.bayesian import negative_log_likelihood
from napari_blindspot.networks.precision import half_where_it_pays

if TYPE_CHECKING:
    from napari_blindspot.methods.learned_noise import NoiseLearner
    from napari_blindspot.networks.blindspot import BlindSpotNetwork, Prior


class Objective(nn.Module):
    """The loss of a batch, as a module that holds all that is trained.

    Parameters
    ----------
    network
        Sees the planes.
    learner
        Learns the strength of the noise; None: the noise of the batch is the truth.
    stop_gradient
        As of `methods.bayesian.negative_log_likelihood`.
    """

    def __init__(
        self,
        network: BlindSpotNetwork,
        learner: NoiseLearner | None = None,
        *,
        stop_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.learner = network, learner
        self.stop_gradient = stop_gradient

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the parameters with their learning rates, as an optimiser takes them.

        Parameters
        ----------
        rate
            That of the network.
        """
        own = [{"params": list(self.network.parameters()), "lr": rate}]
        return own if self.learner is None else [*own, *self.learner.groups(rate)]

    def forward(
        self, planes: Tensor, target: Tensor, noise: Any, kind: Tensor | None = None
    ) -> Tensor:
        """Return the loss of a batch, a scalar.

        Parameters
        ----------
        planes
            (N, maps, Y, X) in network units.
        target
            (N, Y, X), 1 where the centre plane's voxel counts.
        noise
            Frozen noise of the batch, of one channel or of several together.
        kind
            (N,) int64, as the network takes it.
        """
        score, noise, prior = self._score(planes, target, noise, kind)
        if self.learner is None:
            return score
        return score + self.learner.regulariser(noise, prior.mean)

    def score(
        self, planes: Tensor, target: Tensor, noise: Any, kind: Tensor | None = None
    ) -> Tensor:
        """Return the negative log-likelihood alone; arguments as of `forward`."""
        return self._score(planes, target, noise, kind)[0]

    def _score(
        self, planes: Tensor, target: Tensor, noise: Any, kind: Tensor | None
    ) -> tuple[Tensor, Any, Prior]:
        with half_where_it_pays(planes.device):
            prior = self.network(planes, kind=kind)
            if self.learner is not None:
                noise = self.learner.likelihood(planes, noise)
        centre = self.network.centre(planes)
        score = negative_log_likelihood(
            centre, prior, noise, target, stop_gradient=self.stop_gradient
        )
        return score, noise, prior
