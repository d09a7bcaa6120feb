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
from napari_blindspot.streaming.memory import share_memory
from napari_blindspot.training.checking import check_noise
from napari_blindspot.training.holes import choose_holes
from napari_blindspot.training.keeping import Keeping, asked_by
from napari_blindspot.training.learning_masked import learn_masked
from napari_blindspot.training.loop import train_network
from napari_blindspot.training.preparing import behind_a_hole, context_for, prepare
from napari_blindspot.training.recipes import choose_recipe, warm_recipe
from napari_blindspot.training.refinement import REFINE_AT, Refinement
from napari_blindspot.training.sampling_joint import make_sampler
from napari_blindspot.training.starting import WarmStart
from napari_blindspot.training.warm import begin, check_start
from napari_blindspot.training.watching import Watching, model_maker
from napari_blindspot.training.widening import LOOK_AT, Widening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_blindspot.config import Recipe
    from napari_blindspot.measure.calibrated import Measured
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.methods import Method
    from napari_blindspot.model import Model
    from napari_blindspot.noise.recalibration import Recalibration
    from napari_blindspot.noise.verdict import Verdict
    from napari_blindspot.planes import PlaneSeries
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.adjusting import Adjust
    from napari_blindspot.training.holes import Holes
    from napari_blindspot.training.keeping import Keeper, Remembering
    from napari_blindspot.training.loop import Look, Trained
    from napari_blindspot.training.sampling import CropSampler
    from napari_blindspot.training.watching import Watch

_ASKED = set(TrainSettings.model_fields)
_DROPPED = 0.2  # of the steps, where other holes than the trained one are asked for


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
    if method.network == "masked":
        args = (stacks, settings, camera, cancel, watch, measured, keep)
        return (yield from learn_masked(*args))
    check_start(settings.start)
    _refuse_channels(stacks, settings)
    prepared = yield from prepare(stacks, settings, camera, measured)
    device, axis, channels = prepared.device, prepared.axis, prepared.channels
    corrections = prepared.corrections
    corrected = [correction.stack for correction in corrections]
    holes = choose_holes(settings, method, corrected, channels)
    if holes.sentence:
        yield Progress("noise", 1, 1, "steps", holes.sentence)
    sources = prepared.sources(settings, cancel)
    if _may_measure(settings) and max(holes.train[1:]) > 1:
        channels, sources = yield from behind_a_hole(prepared, sources)
    series = [source.series for source in sources]
    recipe, note = _fit_recipe(
        choose_recipe(settings, device.type), series, settings, holes
    )
    recipe = _within_memory(recipe, settings)
    beginning = begin(settings.start, recipe.network)
    cold = recipe
    if beginning.is_warm:
        recipe = warm_recipe(recipe, settings).model_copy(
            update={"network": beginning.network}
        )
    for told in filter(None, (note, _joint_sentence(recipe), beginning.sentence)):
        yield Progress("noise", 1, 1, "steps", told)
    with cpu_threads(settings, device) as threads:
        sampler = make_sampler(sources, recipe, recipe.network.stride, settings.seed)
        widening = _widening(sampler, settings, method, holes, device, cancel)

        def model_of(network: BlindSpotNetwork) -> Model:
            hole = holes.result if widening is None else widening.holes.result
            return model_maker(channels, axis, method, hole)(network)

        look = None if watch is None else Watching(watch, model_of)
        trained, channels = yield from _train(
            sampler,
            recipe,
            channels,
            settings,
            method,
            device,
            cancel,
            look,
            widening,
            WarmStart(beginning.give, cold) if beginning.is_warm else None,
            keep,
            {"recipe": recipe.model_dump(), "start": beginning.as_dict()},
        )
        model = model_of(trained.network)
        choice: dict[str, Any] = {}
        if widening is not None:
            told, choice = widening.settled(model)
            yield Progress("train", 100, 100, "%", told)
        checked: list[tuple[Verdict, Recalibration]] = []
        if method.answer == "posterior":
            yield Progress("train", 100, 100, "%", "Checking the noise model")
            darks = corrections[0].dark or (None,) * len(channels)
            average = [*map(on_average, channels, darks)]
            estimated = (
                settings.noise == "auto"
                and settings.unknown == "estimate"
                and not _is_given(settings)
            )
            checked = check_noise(
                trained.network,
                sampler,
                average,
                model.result_hole,
                device,
                cancel,
                estimated=estimated,
            )
    verdicts = [verdict for verdict, _ in checked]
    if widening is not None:
        verdicts = [widening.judged(verdict) for verdict in verdicts]
    for verdict in verdicts:
        yield Progress("train", 100, 100, "%", _sentence(verdict))
    checks = [verdict.as_dict() for verdict in verdicts]
    facts = training_facts(
        trained, recipe, settings, stacks, str(device), threads, checks
    )
    return replace(
        model,
        provenance=facts
        | {"start": {**beginning.as_dict(), **trained.start}}
        | ({"hole_choice": choice} if choice else {}),
        recalibration=tuple(recalibration for _, recalibration in checked),
    )


def _train(
    sampler: CropSampler,
    recipe: Recipe,
    channels: tuple[Channel, ...],
    settings: TrainSettings,
    method: Method,
    device: torch.device,
    cancel: CancelToken,
    look: Look | None,
    widening: Widening | None,
    warm: WarmStart | None,
    keep: Keeper | None,
    plan: Mapping[str, Any],
) -> Job[tuple[Trained, tuple[Channel, ...]]]:
    """Train the network, and learn about the noise on the way where that is due."""
    torch.manual_seed(settings.seed)
    network = BlindSpotNetwork(recipe.network)
    learner = None
    if settings.unknown == "learn":
        learner = noise_learner(channels[0], recipe.network)
    refinement = Refinement(sampler, channels, device, cancel)
    parts: dict[str, Remembering] = {"refinement": refinement}
    adjust: list[tuple[float, Adjust]] = []
    if _may_refine(settings, method):
        adjust += [(share, refinement) for share in REFINE_AT]
    if widening is not None:
        adjust += [(share, widening) for share in LOOK_AT]
        parts["widening"] = widening
    trained = yield from train_network(
        network,
        sampler,
        recipe,
        device=device,
        seed=settings.seed,
        cancel=cancel,
        adjust=tuple(sorted(adjust, key=itemgetter(0))),
        learner=learner,
        stop_gradient=settings.stop_gradient,
        answer=method.answer,
        look=look,
        warm=warm,
        keep=Keeping(keep, asked_by(settings, _ASKED), plan, parts),
    )
    channels = refinement.channels
    if learner is not None:
        channels = (read_back(learner, channels[0], sampler),)
        told = learned_sentence(channels[0].noise)
        yield Progress("train", 100, 100, "%", told)
    return trained, channels


def _within_memory(recipe: Recipe, settings: TrainSettings) -> Recipe:
    """Return the recipe with no more decoded pixels than the memory is to hold."""
    kept = min(recipe.cache_bytes, share_memory(settings).cache)
    return recipe.model_copy(update={"cache_bytes": kept})


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


def _joint_sentence(recipe: Recipe) -> str:
    """Say so where channels are denoised together."""
    network = recipe.network
    if network.channels == 1:
        return ""
    return (
        f"{network.channels} channels are denoised together, with a "
        f"{network.covariance} covariance"
    )


def _may_refine(settings: TrainSettings, method: Method) -> bool:
    """Return whether the noise may be measured anew during training.

    What the user gave stays.
    """
    return method.answer == "posterior" and _may_measure(settings)


def _may_measure(settings: TrainSettings) -> bool:
    """Return whether the noise is what is measured, for none is given or learned."""
    return settings.unknown == "estimate" and not _is_given(settings)


def _widening(
    sampler: CropSampler,
    settings: TrainSettings,
    method: Method,
    holes: Holes,
    device: torch.device,
    cancel: CancelToken,
) -> Widening | None:
    """Return who enlarges a hole that was left to the run, None for one that is given.

    Noise that is learned along with the network is no measure of missing scatter.
    """
    if settings.hole != "auto" or settings.unknown == "learn":
        return None
    side = min(LARGEST_HOLE, sampler.crop - 1)
    side -= 1 - side % 2  # odd, and smaller than a crop
    largest = settings.train_hole or (LARGEST_HOLE, side, side)
    return Widening(sampler, holes, largest, device, cancel, method.answer)


def _is_given(settings: TrainSettings) -> bool:
    """Return whether the user said anything about the strength of the noise."""
    known = (
        settings.gain,
        settings.sigma,
        settings.outliers,
        settings.dark,
        settings.variance_map,
    )
    return any(value is not None for value in known)


def _sentence(verdict: Verdict) -> str:
    return verdict.sentence[:1].upper() + verdict.sentence[1:]


def _fit_recipe(
    recipe: Recipe,
    series: Sequence[PlaneSeries],
    settings: TrainSettings,
    holes: Holes,
) -> tuple[Recipe, str]:
    """Give the recipe the hole, and no more context than the planes allow.

    Raises
    ------
    InputError
        If the hole leaves nothing to see in a crop.
    """
    side = min(recipe.crop, *(n for one in series for n in one.shape[1:]))
    if side > (stride := recipe.network.stride):
        side -= side % stride  # as the sampler cuts them
    if max(holes.train[1:]) >= side:
        raise InputError(
            f"the blind spot {holes.train} (z, y, x) of the training is as large as a "
            f"training crop of {side} px; give a smaller hole or train_hole."
        )
    context, note = context_for(series, settings, recipe.network.context)
    changes: dict[str, Any] = {"context": context, "hole": holes.train}
    count = series[0].stack.sizes["C"]
    if settings.channels == "joint":
        changes |= {"channels": count, "covariance": settings.covariance}
    else:
        changes["starts"] = count
    network = recipe.network.model_copy(update=changes)
    drop = _DROPPED if holes.tunable and context else 0.0
    return recipe.model_copy(update={"network": network, "drop_planes": drop}), note
