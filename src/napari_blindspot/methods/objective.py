"""What a training step minimises: the network with its loss, and the noise if learned.

With frozen noise this is the likelihood of `methods.bayesian` and nothing else. Noise
that is learned along with the network adds a number to the parameters and a reward for
noise to the loss (`methods.learned_noise`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from napari_blindspot.methods.bayesian import negative_log_likelihood
from napari_blindspot.methods.criterion import Criterion
from napari_blindspot.methods.tunable import absolute_error
from napari_blindspot.networks.precision import half_where_it_pays

if TYPE_CHECKING:
    from torch import Tensor

    from napari_blindspot.methods.learned_noise import NoiseLearner
    from napari_blindspot.networks.blindspot import BlindSpotNetwork, Hole, Prior

_LEAST_ERROR = 1e-12  # network units


class Objective(Criterion):
    """The loss of a batch, as a module that holds all that is trained.

    Parameters
    ----------
    network
        Sees the planes.
    learner
        Learns the strength of the noise; None: the noise of the batch is the truth.
    stop_gradient
        As of `methods.bayesian.negative_log_likelihood`.
    answer
        ``"posterior"``: the likelihood is minimised; ``"mean"``: the absolute error
        of `methods.tunable`.
    """

    def __init__(
        self,
        network: BlindSpotNetwork,
        learner: NoiseLearner | None = None,
        *,
        stop_gradient: bool = False,
        answer: Literal["posterior", "mean"] = "posterior",
    ) -> None:
        super().__init__()
        self.answer = answer
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

    def turn(self, hole: Hole) -> None:
        """Let the network be trained for another hole, with the weights that it has."""
        settings = self.network.settings.model_copy(update={"hole": hole})
        self.network.settings = settings

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
        planes
            (N, maps, Y, X) in network units.
        target
            (N, Y, X), 1 where the centre plane's voxel counts.
        noise
            Frozen noise of the batch, of one channel or of several together.
        kind
            (N,) int64, as the network takes it.
        hole
            Blind spot of this step; default: the one the network is trained for.
        """
        score, noise, prior = self._score(planes, target, noise, kind, hole)
        if self.learner is None:
            return score
        return score + self.learner.regulariser(noise, prior.mean)

    def score(
        self, planes: Tensor, target: Tensor, noise: Any, kind: Tensor | None = None
    ) -> Tensor:
        """Return what is minimised, without the reward for noise; as of `forward`."""
        return self._score(planes, target, noise, kind, None)[0]

    def gap(self, score: float, other: float) -> float:
        """As of `Criterion.gap`."""
        if self.answer == "mean":  # as wide a Laplace distribution as the errors are
            return 2 * math.log(max(score, _LEAST_ERROR) / max(other, _LEAST_ERROR))
        return super().gap(score, other)

    def _score(
        self,
        planes: Tensor,
        target: Tensor,
        noise: Any,
        kind: Tensor | None,
        hole: Hole | None,
    ) -> tuple[Tensor, Any, Prior]:
        with half_where_it_pays(planes.device):
            prior = self.network(planes, hole, kind)
            if self.learner is not None:
                noise = self.learner.likelihood(planes, noise)
        centre = self.network.centre(planes)
        if self.answer == "mean":
            return absolute_error(centre, prior, target), noise, prior
        score = negative_log_likelihood(
            centre, prior, noise, target, stop_gradient=self.stop_gradient
        )
        return score, noise, prior
