"""Let someone look at the network now and then while it trains."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_blindspot.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.methods import Method
    from napari_blindspot.model import Learner
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.planes import ContextAxis

    Watch = Callable[[Model], object]

INTERVAL_S = 3.0
"""Least time between two looks."""

SHARE = 0.1
"""Largest part of the time that may be spent on looking, from the second look on."""


class Watching:
    """Shows a network to a watcher, seldom enough.

    Parameters
    ----------
    watch
        Is given a provisional model. Its network is the one that trains on, on the
        device where it trains: it may be used or copied during the call, not kept.
    provisional
        Makes a model of a network.
    """

    def __init__(self, watch: Watch, provisional: Callable[[Any], Model]) -> None:
        self._watch, self._provisional = watch, provisional
        self._next_s = 0.0

    def __call__(self, network: Any) -> float:
        """Show the network if it is time to; return the seconds that took."""
        start_s = time.perf_counter()
        if start_s < self._next_s:
            return 0.0
        self._watch(self._provisional(network))
        end_s = time.perf_counter()
        spent_s = end_s - start_s
        self._next_s = end_s + max(INTERVAL_S, spent_s * (1 / SHARE - 1))
        return spent_s


def model_maker(
    channels: Sequence[Channel],
    axis: ContextAxis,
    method: Method,
    hole: Hole | None,
) -> Callable[[Learner], Model]:
    """Return what makes a model of a network: it knows the stack, but no history.

    Parameters
    ----------
    channels
        Scale and noise of each.
    axis
        Along which the neighbour planes lie.
    method
        By which the network is trained.
    hole
        Blind spot (z, y, x) of the answer; None of a network without one.
    """

    def model(network: Learner) -> Model:
        return Model(
            network,
            tuple(channel.scale for channel in channels),
            tuple(channel.noise for channel in channels),
            axis if network.settings.context else "none",
            method.name,
            hole=hole,
            answer=method.answer,
        )

    return model
