"""From stacks to a model: measure, train, and hold the result against the stacks."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch

from napari_blindspot.config import LARGEST_HOLE, TrainSettings
from napari_blindspot.device import cpu_threads
from napari_blindspot.errors import InputError
from napari_blindspot.facts import training_facts
from napari_blindspot.measure.calibrated import on_average
from napari_blindspot.methods import get_method
from napari_blindspot.methods.learned_model import (
    learned_sentence,
    noise_learner,
    read_back,
)
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.progress import Progress
from napari_blindspot.training.checking import check_noise
from napari_blindspot.training.fitting import fit
from napari_blindspot.training.keeping import Keeping, asked_by
from napari_blindspot.training.learning_masked import learn_masked
from napari_blindspot.training.loop import train_network
from napari_blindspot.training.preparing import prepare
from napari_blindspot.training.refinement import REFINE_AT, Refinement
from napari_blindspot.training.sampling_joint import make_sampler
from napari_blindspot.training.warm import check_start
from napari_blindspot.training.watching import Watching, model_maker
from napari_blindspot.training.widening import LOOK_AT, Widening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import HoleSizes
    from napari_blindspot.measure.calibrated import Measured
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.model import Model
    from napari_blindspot.noise.recalibration import Recalibration
    from napari_blindspot.noise.verdict import Verdict
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.adjusting import Adjust
    from napari_blindspot.training.fitting import Fitted
    from napari_blindspot.training.keeping import Keeper, Remembering
    from napari_blindspot.training.loop import Trained
    from napari_blindspot.training.preparing import Prepared
    from napari_blindspot.training.watching import Watch

_ASKED = set(TrainSettings.model_fields)


def learn(
    stacks: Sequence[Stack],
    settings: TrainSettings,
    camera: CameraMaps,
    cancel: CancelToken,
    watch: Watch | None = None,
    measured: Measured | None = None,
    keep: Keeper | None = None,
) -> Job[Model]:
    """Train one network on stacks that are open and cropped already.

    `watch` is given a provisional model now and then, as `training.watching` says;
    what is learnt does not depend on it. `measured` is what `measure_corrected` said of
    the stacks; by default they are measured now. `keep` holds the state of the
    training, which goes on from there if it was stopped.
    """
    method = get_method(settings.method)
    _refuse_channels(stacks, settings)
    if method.network == "masked":
        args = (stacks, settings, camera, cancel, watch, measured, keep)
        return (yield from learn_masked(*args))
    check_start(settings.start)
    prepared = yield from prepare(stacks, settings, camera, measured)
    fitted = yield from fit(prepared, settings, method, cancel)
    with cpu_threads(settings, prepared.device) as threads:
        lesson = _Lesson(settings, prepared, fitted, cancel)
        trained = yield from lesson.train(watch, keep)
        model = lesson.model_of(trained.network)
        choice = yield from lesson.settle(model)
        checked = yield from lesson.check(trained, model.result_hole)
    verdicts, recalibration = zip(*checked, strict=True) if checked else ((), ())
    facts = training_facts(
        trained,
        fitted.recipe,
        settings,
        stacks,
        str(prepared.device),
        threads,
        [verdict.as_dict() for verdict in verdicts],
    )
    return replace(
        model,
        provenance=facts
        | {"start": {**fitted.beginning.as_dict(), **trained.start}}
        | ({"hole_choice": choice} if choice else {}),
        recalibration=tuple(recalibration),
    )


class _Lesson:
    """One training of a blind-spot network, and who looks at it on the way.

    Parameters
    ----------
    settings
        Of the user.
    prepared, fitted
        The stacks as they were measured, and what is trained on them.
    cancel
        Asked before every step.
    """

    def __init__(
        self,
        settings: TrainSettings,
        prepared: Prepared,
        fitted: Fitted,
        cancel: CancelToken,
    ) -> None:
        self.settings, self.prepared, self.fitted = settings, prepared, fitted
        self.cancel = cancel
        self.method = get_method(settings.method)
        self.device = prepared.device
        recipe = fitted.recipe
        self.sampler = make_sampler(
            fitted.sources, recipe, recipe.network.stride, settings.seed
        )
        self.channels = fitted.channels
        self.refinement = Refinement(self.sampler, self.channels, self.device, cancel)
        self.widening = self._widening()

    def model_of(self, network: BlindSpotNetwork) -> Model:
        """Return the model of a network, as far as it has come."""
        holes = self.fitted.holes if self.widening is None else self.widening.holes
        make = model_maker(self.channels, self.prepared.axis, self.method, holes.result)
        return make(network)

    def train(self, watch: Watch | None, keep: Keeper | None) -> Job[Trained]:
        """Train the network, and learn about the noise where that is due."""
        settings, recipe = self.settings, self.fitted.recipe
        torch.manual_seed(settings.seed)
        network = BlindSpotNetwork(recipe.network)
        learner = None
        if settings.unknown == "learn":
            learner = noise_learner(self.channels[0], recipe.network)
        plan = {
            "recipe": recipe.model_dump(),
            "start": self.fitted.beginning.as_dict(),
        }
        trained = yield from train_network(
            network,
            self.sampler,
            recipe,
            device=self.device,
            seed=settings.seed,
            cancel=self.cancel,
            adjust=self._looks(),
            learner=learner,
            stop_gradient=settings.stop_gradient,
            answer=self.method.answer,
            look=None if watch is None else Watching(watch, self.model_of),
            warm=self.fitted.warm_start,
            keep=Keeping(keep, asked_by(settings, _ASKED), plan, self._parts()),
        )
        self.channels = self.refinement.channels
        if learner is not None:
            self.channels = (read_back(learner, self.channels[0], self.sampler),)
            told = learned_sentence(self.channels[0].noise)
            yield Progress("train", 100, 100, "%", told)
        return trained

    def settle(self, model: Model) -> Job[dict[str, Any]]:
        """Say what became of a hole that was left to the run; facts, or none."""
        if self.widening is None:
            return {}
        told, choice = self.widening.settled(model)
        yield Progress("train", 100, 100, "%", told)
        return choice

    def check(
        self, trained: Trained, hole: HoleSizes
    ) -> Job[list[tuple[Verdict, Recalibration]]]:
        """Hold the network against the stacks; nothing of a mean alone."""
        if self.method.answer != "posterior":
            return []
        yield Progress("train", 100, 100, "%", "Checking the noise model")
        darks = self.prepared.corrections[0].dark or (None,) * len(self.channels)
        checked = check_noise(
            trained.network,
            self.sampler,
            [*map(on_average, self.channels, darks)],
            hole,
            self.device,
            self.cancel,
            estimated=self.settings.noise == "auto" and self.settings.measures_noise,
        )
        if self.widening is not None:
            checked = [(self.widening.judged(one), other) for one, other in checked]
        for verdict, _ in checked:
            yield Progress("train", 100, 100, "%", _sentence(verdict))
        return checked

    def _looks(self) -> tuple[tuple[float, Adjust], ...]:
        """Say who looks at the network, and after which part of the budget."""
        looks: list[tuple[float, Adjust]] = []
        if self.method.answer == "posterior" and self.settings.measures_noise:
            looks += [(share, self.refinement) for share in REFINE_AT]
        if self.widening is not None:
            looks += [(share, self.widening) for share in LOOK_AT]
        return tuple(sorted(looks, key=itemgetter(0)))

    def _parts(self) -> dict[str, Remembering]:
        """Name those that remember what they saw."""
        parts: dict[str, Remembering] = {"refinement": self.refinement}
        if self.widening is not None:
            parts["widening"] = self.widening
        return parts

    def _widening(self) -> Widening | None:
        """Return who enlarges a hole that was left to the run, None of one given.

        Noise that is learned along with the network is no measure of missing scatter.
        """
        if self.settings.hole != "auto" or self.settings.unknown == "learn":
            return None
        side = min(LARGEST_HOLE, self.sampler.crop - 1)
        side -= 1 - side % 2  # odd, and smaller than a crop
        return Widening(
            self.sampler,
            self.fitted.holes,
            self.settings.train_hole or (LARGEST_HOLE, side, side),
            self.device,
            self.cancel,
            self.method.answer,
        )


def _refuse_channels(stacks: Sequence[Stack], settings: TrainSettings) -> None:
    """Refuse stacks whose number of channels does not fit what is asked for."""
    for stack in stacks:
        count = stack.sizes["C"]
        if settings.channels == "joint" and count < 2:
            raise InputError(
                f"channels='joint' needs a stack of several channels, but {stack.name} "
                f"({stack.axes}, shape {stack.shape}) has one; leave channels out, or "
                f"name the axes with axes= if one of them is C."
            )
        if settings.unknown == "learn" and count > 1:
            raise InputError(
                f"unknown='learn' learns the noise of one channel, but {stack.name} "
                f"has {count}; choose one with channel=, or use unknown='estimate'."
            )


def _sentence(verdict: Verdict) -> str:
    return verdict.sentence[:1].upper() + verdict.sentence[1:]
