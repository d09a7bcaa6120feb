"""From stacks to a model: measure, train, and hold the result against the stacks."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch

from napari_blindspot.config import LARGEST_HOLE
from napari_blindspot.device import (
    cpu_threads,
    describe_device,
    pick_device,
)
from napari_blindspot.errors import InputError
from napari_blindspot.facts import training_facts
from napari_blindspot.measure.calibrated import measure_corrected, on_average
from napari_blindspot.measure.fields import noise_fields
from napari_blindspot.methods import get_method
from napari_blindspot.methods.learned_model import (
    learned_sentence,
    noise_learner,
    read_back,
)
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.models import Gaussian
from napari_blindspot.planes import plane_series, resolve_context_axis, usable_context
from napari_blindspot.progress import Progress
from napari_blindspot.training.checking import check_noise
from napari_blindspot.training.holes import choose_holes
from napari_blindspot.training.loop import train_network
from napari_blindspot.training.recipes import choose_recipe, warm_recipe
from napari_blindspot.training.refinement import REFINE_AT, Refinement
from napari_blindspot.training.sampling import Source
from napari_blindspot.training.sampling_joint import make_sampler
from napari_blindspot.training.starting import WarmStart
from napari_blindspot.training.warm import begin, check_start
from napari_blindspot.training.watching import Watching, model_maker
from napari_blindspot.training.widening import LOOK_AT, Widening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_blindspot.config import Recipe, TrainSettings
    from napari_blindspot.measure.calibrated import Measured
    from napari_blindspot.measure.camera_maps import CameraMaps
    from napari_blindspot.measure.channels import Channel
    from napari_blindspot.measure.correction import Correction
    from napari_blindspot.methods import Method
    from napari_blindspot.model import Model
    from napari_blindspot.noise.recalibration import Recalibration
    from napari_blindspot.noise.verdict import Verdict
    from napari_blindspot.planes import ContextAxis, PlaneSeries
    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.stack import Stack
    from napari_blindspot.training.adjusting import Adjust
    from napari_blindspot.training.holes import Holes
    from napari_blindspot.training.loop import Look, Trained
    from napari_blindspot.training.sampling import CropSampler
    from napari_blindspot.training.watching import Watch

_DROPPED = 0.2  # of the steps, where other holes than the trained one are asked for


def learn(
    stacks: Sequence[Stack],
    settings: TrainSettings,
    camera: CameraMaps,
    cancel: CancelToken,
    watch: Watch | None = None,
    measured: Measured | None = None,
) -> Job[Model]:
    """Train one network on stacks that are open and cropped already.

    `watch` is given a provisional model now and then, as `training.watching` says;
    what is learnt does not depend on it. `measured` is what `measure_corrected` said of
    the stacks; by default they are measured now.
    """
    method = get_method(settings.method)
    check_start(settings.start)
    _refuse_channels(stacks, settings)
    device = pick_device(settings.device)
    axis = resolve_context_axis(stacks[0], settings.context)
    yield Progress("noise", 0, 1, "steps", "Estimating the noise")
    if idle := describe_device(settings.device).warning:
        yield Progress("noise", 0, 1, "steps", idle)
    channels, corrections = measured or measure_corrected(stacks, settings, camera)
    for note in dict.fromkeys(note for one in corrections for note in one.notes):
        yield Progress("noise", 1, 1, "steps", note)
    yield Progress("noise", 1, 1, "steps", _noise_sentence(channels))
    corrected = [correction.stack for correction in corrections]
    holes = choose_holes(settings, method, corrected, channels)
    if holes.sentence:
        yield Progress("noise", 1, 1, "steps", holes.sentence)
    sources = [
        source
        for correction in corrections
        for source in _sources(correction, channels, axis, settings, cancel)
    ]
    series = [source.series for source in sources]
    recipe, note = _fit_recipe(
        choose_recipe(settings, device.type), series, settings, holes
    )
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
) -> Job[tuple[Trained, tuple[Channel, ...]]]:
    """Train the network, and learn about the noise on the way where that is due."""
    torch.manual_seed(settings.seed)
    network = BlindSpotNetwork(recipe.network)
    learner = None
    if settings.unknown == "learn":
        learner = noise_learner(channels[0], recipe.network)
    refinement = Refinement(sampler, channels, device, cancel)
    adjust: list[tuple[float, Adjust]] = []
    if _may_refine(settings, method):
        adjust += [(share, refinement) for share in REFINE_AT]
    if widening is not None:
        adjust += [(share, widening) for share in LOOK_AT]
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
    )
    channels = refinement.channels
    if learner is not None:
        channels = (read_back(learner, channels[0], sampler),)
        told = learned_sentence(channels[0].noise)
        yield Progress("train", 100, 100, "%", told)
    return trained, channels


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
    return (
        method.answer == "posterior"
        and settings.unknown == "estimate"
        and not _is_given(settings)
    )


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
    wanted = 0 if settings.context == "none" else recipe.network.context
    planes = min(one.shape[0] for one in series)
    context = usable_context(planes, wanted)
    changes: dict[str, Any] = {"context": context, "hole": holes.train}
    count = series[0].stack.sizes["C"]
    if settings.channels == "joint":
        changes |= {"channels": count, "covariance": settings.covariance}
    else:
        changes["starts"] = count
    network = recipe.network.model_copy(update=changes)
    note = ""
    if context < wanted:
        note = (
            "a single plane: no neighbour planes are used"
            if planes == 1
            else f"{planes} planes along {series[0].axis}: {context} neighbour plane "
            f"on either side is used instead of {wanted}"
        )
    drop = _DROPPED if holes.tunable and context else 0.0
    return recipe.model_copy(update={"network": network, "drop_planes": drop}), note


def _sources(
    correction: Correction,
    channels: Sequence[Channel],
    axis: ContextAxis,
    settings: TrainSettings,
    cancel: CancelToken,
) -> list[Source]:
    """Return the series of one corrected stack with everything that training needs."""
    series = plane_series(correction.stack, axis)
    fields = noise_fields(
        series,
        [channel.noise for channel in channels],
        [channel.scale for channel in channels],
        correction,
        cancel,
        per_plane=settings.noise_per_plane,
    )
    return [
        Source(
            one,
            channels[one.channel].scale,
            field,
            channels[one.channel].saturation,
        )
        for one, field in zip(series, fields, strict=True)
    ]


def _noise_sentence(channels: Sequence[Channel]) -> str:
    parts = [
        f"standard deviation {c.noise.sigma:.3g} grey values"
        if isinstance(c.noise, Gaussian)
        else f"gain {c.noise.gain:.3g} grey values per electron"
        for c in channels
    ]
    warnings = [w for c in channels for w in c.noise.warnings]
    return "Noise: " + "; ".join([*parts, *warnings])
