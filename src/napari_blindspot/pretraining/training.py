"""Train start weights on endless generated recordings; stopped, it goes on later."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_blindspot.config import NetworkSettings
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.pretraining.episodes import (
    Crops,
    Episode,
    load_episodes,
    make_episode,
)
from napari_blindspot.pretraining.lessons import loss_of
from napari_blindspot.starts.adapt import load_start
from napari_blindspot.starts.grow import load_fitting
from napari_blindspot.starts.shipped import read_index, read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_blindspot.networks.student import StudentNetwork

FIRST_OF_EXAM = 3
"""Recordings of the exam that take no time, for a look at weights now and then."""

_BETAS = (0.9, 0.99)
_EMA = 0.999
_CLIP = 1.0
_EXAM_SEED = 10**6  # apart from every seed of training
_EXAM_CROPS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How start weights are trained.

    Parameters
    ----------
    steps
        Steps in all; the learning rate falls to 0 over them as a cosine.
    episodes, crops
        Recordings per step, and crops of each.
    pool
        Recordings that are held at a time.
    every
        Steps after which one of them is replaced by a new one.
    learning_rate, warmup
        Peak of Adam's, and steps that lead up to it.
    seed
        Of everything.
    workers
        Processes that make recordings; 0: this one.
    """

    steps: int
    episodes: int = 2
    crops: int = 2
    pool: int = 48
    every: int = 8
    learning_rate: float = 2e-3
    warmup: int = 100
    seed: int = 0
    workers: int = 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        ramp = min(1.0, (step + 1) / self.warmup)
        return (
            self.learning_rate
            * ramp
            * 0.5
            * (1 + math.cos(math.pi * step / self.steps))
        )


class Pretraining:
    """A network on its way to start weights.

    Parameters
    ----------
    network
        Fresh; trained in place.
    plan
        How.
    device
        Where.
    load
        Makes endless recordings, as `load_episodes`.
    """

    def __init__(
        self,
        network: BlindSpotNetwork | StudentNetwork,
        plan: Plan,
        device: torch.device,
        load: Callable[[int, int, int], Iterator[Episode]] = load_episodes,
    ) -> None:
        self.network = network.to(device).train()
        self.average = copy.deepcopy(network).eval()
        self.plan, self.device, self._load = plan, device, load
        self.optimiser = torch.optim.Adam(network.parameters(), betas=_BETAS)
        self.step = 0
        self.begun: dict[str, Any] | None = None

    def begin(self, path: Path) -> None:
        """Begin with start weights that were made before; a larger network grows.

        Parameters
        ----------
        path
            Their file; the index beside it tells which network they are of.

        Raises
        ------
        InputError
            If the index does not list them, or the network cannot hold them.
        ModelFileError
            If they cannot be read, or are not what the index says.
        """
        made = {one.name: one for one in read_index(path.parent)}.get(path.stem)
        if made is None:
            raise InputError(
                f"{path} is not in the list of weights beside it (index.json), which "
                f"tells what network they are of; give a file that pretraining wrote, "
                f"in its folder."
            )
        try:
            weights = read_weights(made, path.parent)
        except ModelFileError as error:
            raise ModelFileError(
                f"{path} is missing, or not what the list beside it (index.json) says; "
                f"make it anew."
            ) from error
        try:
            if isinstance(self.network, BlindSpotNetwork) and isinstance(
                made.network, NetworkSettings
            ):
                load_fitting(self.network, weights, made.network)
            else:
                load_start(self.network, weights, made.network.context)
        except InputError as error:
            raise InputError(
                f"{path} holds the weights of a network ({made.network}) that "
                f"this one ({self.network.settings}) cannot hold; begin with those of "
                f"a smaller one of its kind."
            ) from error
        self.average.load_state_dict(self.network.state_dict())
        self.begun = {"name": made.name, "sha256": made.sha256}

    def run(self, minutes: float = math.inf) -> Iterator[tuple[int, float]]:
        """Train on until all steps are done or the minutes are over.

        Yields
        ------
        (int, float)
            Number of the step that was taken, and its loss.
        """
        end = time.monotonic() + 60 * minutes
        pool, coming = self._pool()
        while self.step < self.plan.steps and time.monotonic() < end:
            loss = self._take_step(pool)
            self.step += 1
            if self.step % self.plan.every == 0:
                pool.append(next(coming))
            yield self.step, loss

    def _pool(self) -> tuple[deque[Episode], Iterator[Episode]]:
        """Return the recordings of the present step, and those that follow."""
        first = self.step // self.plan.every
        coming = self._load(self.plan.seed, first, self.plan.workers)
        pool = deque((next(coming) for _ in range(self.plan.pool)), self.plan.pool)
        return pool, coming

    def _take_step(self, pool: deque[Episode]) -> float:
        rng = np.random.default_rng([self.plan.seed, 1, self.step])
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for index in rng.integers(len(pool), size=self.plan.episodes):
            episode = pool[int(index)].on(self.device)
            crops = episode.draw(rng, self.plan.crops).on(self.device)
            loss = loss_of(self.network, episode, crops) / self.plan.episodes
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        self._update_average()
        return total

    def _update_average(self) -> None:
        decay = min(_EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for old, new in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                old.lerp_(new, 1 - decay)

    def save(self, path: Path) -> None:
        """Write everything that is needed to go on; the old file stays until then."""
        beside = path.with_name(path.name + ".partial")
        torch.save(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "begun": self.begun,
                "plan": asdict(self.plan),
                "settings": self.network.settings.model_dump(mode="json"),
            },
            beside,
        )
        beside.replace(path)

    def resume(self, path: Path) -> None:
        """Go on where a file left off.

        Raises
        ------
        InputError
            If it was begun by another plan, whose course this one would not continue,
            or for another network.
        """
        kept = torch.load(path, map_location=self.device, weights_only=True)
        if other := _others(asdict(self.plan), kept["plan"], but="workers"):
            raise InputError(
                f"{path} was begun by another plan ({other}), whose course this one "
                f"would not continue; give the same options, or another folder."
            )
        settings = self.network.settings.model_dump(mode="json")
        if other := _others(settings, kept.get("settings", settings)):
            raise InputError(
                f"{path} is of another network ({other}); give another folder to begin "
                f"anew."
            )
        self.network.load_state_dict(kept["network"])
        self.average.load_state_dict(kept["average"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.step = int(kept["step"])
        self.begun = kept.get("begun")


def _others(now: dict[str, Any], then: dict[str, Any], but: str = "") -> str:
    """Name what differs, as it was and as it is; empty if nothing does."""
    names = [name for name in now | then if name != but]
    return ", ".join(
        f"{name}={then.get(name)!r}, now {now.get(name)!r}"
        for name in names
        if now.get(name) != then.get(name)
    )


class Exam:
    """Recordings that are never trained on: how good a network is.

    Parameters
    ----------
    episodes
        How many recordings.
    """

    def __init__(self, episodes: int, device: torch.device) -> None:
        self.parts: list[tuple[Episode, Crops]] = []
        for number in range(episodes):
            episode = make_episode(_EXAM_SEED, number).on(device)
            crops = episode.draw(np.random.default_rng(number), _EXAM_CROPS)
            self.parts.append((episode, crops.on(device)))

    def __call__(self, network: nn.Module) -> float:
        """Return the mean loss of a network."""
        return float(np.mean(self.losses(network)))

    def losses(self, network: nn.Module) -> list[float]:
        """Return the loss of a network on every recording."""
        with torch.no_grad():
            return [float(loss_of(network, *part)) for part in self.parts]
