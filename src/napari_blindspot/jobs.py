"""The jobs: train, predict, and both, as generators of events.

The shell and the panel run these; the functions of `api` run them to their end.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_blindspot.channels import Channel, measure_channels
from napari_blindspot.device import (
    describe_device,
    fixed_threads,
    measured_threads,
    pick_device,
)
from napari_blindspot.errors import InputError
from napari_blindspot.facts import (
    Result,
    noise_fits,
    provenance_of,
    run_metrics,
    training_facts,
)
from napari_blindspot.io import check_output, open_sink, open_stack, uncertainty_path
from napari_blindspot.methods import get_method
from napari_blindspot.model_file import Model, load_model
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.planes import (
    PlaneSeries,
    plane_series,
    resolve_context_axis,
    usable_context,
)
from napari_blindspot.predictor import Predictor
from napari_blindspot.progress import CancelToken, Job, Progress
from napari_blindspot.recipes import choose_recipe
from napari_blindspot.sampling import CropSampler, Source
from napari_blindspot.stream import block_shape, stream_prediction
from napari_blindspot.training import train_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_blindspot.config import (
        DenoiseSettings,
        OpenSettings,
        PredictSettings,
        Recipe,
        TrainSettings,
    )
    from napari_blindspot.io import Sink
    from napari_blindspot.stack import Stack


_ONE_FOR_ALL = (
    "The model knows one channel: its scale and noise are used for every channel"
)
_CORRELATED = (
    "Neighbouring voxels share their noise (the stack was resampled, compressed or "
    "filtered?): part of the noise is kept, and the uncertainty is too small; try a "
    "larger blind spot in the shell (--hole 1 3 3) or in Python (hole=(1, 3, 3))"
)


def denoise_job(
    source: Any,
    settings: DenoiseSettings,
    out: Path | None = None,
    cancel: CancelToken | None = None,
) -> Job[Result]:
    """Do the work of `denoise` as a generator of events."""
    cancel = cancel or CancelToken()
    get_method(settings.method)  # an unknown one is refused before any file is read
    stack = open_with(source, settings)
    _check_outputs(out, stack, settings)
    yield from _tell(stack)
    if settings.model is not None:
        model = load_model(settings.model)
    else:
        model = yield from _train([stack], settings, cancel)
    return (yield from _predict(model, stack, settings, out, cancel))


def train_job(
    sources: Sequence[Any], settings: TrainSettings, cancel: CancelToken | None = None
) -> Job[Model]:
    """Do the work of `train` as a generator of events."""
    get_method(settings.method)
    if not sources:
        raise InputError("there is no stack to train on; give at least one.")
    stacks = [open_with(source, settings) for source in sources]
    for stack in stacks:
        yield from _tell(stack)
    return (yield from _train(stacks, settings, cancel or CancelToken()))


def predict_job(
    model: Model,
    source: Any,
    settings: PredictSettings,
    out: Path | None = None,
    cancel: CancelToken | None = None,
) -> Job[Result]:
    """Do the work of `predict` as a generator of events."""
    stack = open_with(source, settings)
    _check_outputs(out, stack, settings)
    yield from _tell(stack)
    return (yield from _predict(model, stack, settings, out, cancel or CancelToken()))


def _train(
    stacks: Sequence[Stack], settings: TrainSettings, cancel: CancelToken
) -> Job[Model]:
    """Train one network on stacks that are open and cropped already."""
    method = get_method(settings.method)
    device = pick_device(settings.device)
    axis = resolve_context_axis(stacks[0], settings.context)
    yield Progress("noise", 0, 1, "steps", "Estimating the noise")
    if idle := describe_device(settings.device).warning:
        yield Progress("noise", 0, 1, "steps", idle)
    channels = measure_channels(stacks, settings)
    yield Progress("noise", 1, 1, "steps", _noise_sentence(channels))
    runs = [one for stack in stacks for one in plane_series(stack, axis)]
    recipe, note = _fit_recipe(choose_recipe(settings, device.type), runs, settings)
    if note:
        yield Progress("noise", 1, 1, "steps", note)
    with cpu_threads(settings, device) as threads:
        torch.manual_seed(settings.seed)
        network = BlindSpotNetwork(recipe.network)
        sources_of_crops = [_source(one, channels[one.channel]) for one in runs]
        sampler = CropSampler(
            sources_of_crops,
            recipe.network.context,
            recipe,
            network.stride,
            settings.seed,
        )
        trained = yield from train_network(
            network,
            sampler,
            recipe,
            device=device,
            seed=settings.seed,
            cancel=cancel,
        )
    model = Model(
        trained.network,
        tuple(channel.scale for channel in channels),
        tuple(channel.noise for channel in channels),
        axis if recipe.network.context else "none",
        method.name,
        training_facts(trained, recipe, settings, stacks, str(device), threads),
    )
    if not noise_fits(model):
        yield Progress("train", 100, 100, "%", _CORRELATED)
    return model


def _predict(
    model: Model,
    stack: Stack,
    settings: PredictSettings,
    out: Path | None,
    cancel: CancelToken,
) -> Job[Result]:
    if model.n_channels < stack.sizes["C"] and model.n_channels == 1:
        yield Progress("open", 1, 1, "steps", _ONE_FOR_ALL)
    model = match_channels(model, stack)
    series = _series_for(model, stack)
    device = pick_device(settings.device)
    predictor = Predictor(model, device)
    block = block_shape(
        series[0].shape,
        halo=predictor.halo,
        stride=predictor.stride,
        max_pixels=predictor.max_pixels(),
    )
    provenance = provenance_of(model, stack, settings)
    image, std = _open_sinks(stack, series[0], block, settings, out, provenance)
    sinks = [sink for sink in (image, std) if sink is not None]
    start = time.perf_counter()
    try:
        with cpu_threads(settings, device):
            seen = yield from stream_prediction(
                predictor, series, block, image, std, cancel
            )
        seconds = time.perf_counter() - start
        finished = []
        for sink in sinks:
            whole = yield from sink.finish(cancel)
            finished.append(whole)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return Result(
        finished[0],
        finished[1] if std is not None else None,
        model,
        model.noise,
        run_metrics(model, stack, seen, seconds, settings),
        out,
        provenance,
    )


def match_channels(model: Model, stack: Stack) -> Model:
    """Return the model with one scale and noise model per channel of the stack.

    Raises
    ------
    InputError
        If the model knows neither one channel nor as many as the stack has.
    """
    wanted = stack.sizes["C"]
    if model.n_channels == wanted:
        return model
    if model.n_channels == 1:
        return Model(
            model.network,
            model.scales * wanted,
            model.noise * wanted,
            model.context_axis,
            model.method,
            model.provenance,
        )
    raise InputError(
        f"the model was trained on {model.n_channels} channels but the stack has "
        f"{wanted}; choose one channel (channel=) for training and for denoising."
    )


@contextmanager
def cpu_threads(settings: Any, device: torch.device) -> Iterator[int]:
    """Set the number of CPU threads for a while; yields the number.

    With a budget in steps it is the same in every run on a machine, so that the same
    seed gives the same weights; otherwise the fastest number is measured.
    """
    before = torch.get_num_threads()
    if settings.threads is not None:
        threads = settings.threads
    elif device.type != "cpu" or getattr(settings, "steps", None) is not None:
        threads = fixed_threads()
    else:
        threads = measured_threads()
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def open_with(source: Any, settings: OpenSettings) -> Stack:
    """Open a source as the settings say."""
    return open_stack(
        source,
        axes=settings.axes,
        voxel_size=settings.voxel_size,
        channel=settings.channel,
        region=settings.region,
    )


def _tell(stack: Stack) -> Iterator[Progress]:
    for note in stack.notes:
        yield Progress("open", 0, 1, "steps", note)
    shape = "×".join(str(n) for n in stack.shape)
    yield Progress(
        "open", 1, 1, "steps", f"{stack.name}: {stack.axes} {shape}, {stack.dtype}"
    )


def _check_outputs(out: Path | None, stack: Stack, settings: PredictSettings) -> None:
    check_output(out, stack, settings.overwrite)
    if out is not None and settings.uncertainty:
        check_output(uncertainty_path(out), stack, settings.overwrite)


def _series_for(model: Model, stack: Stack) -> tuple[PlaneSeries, ...]:
    context = model.settings.context
    if context:
        axis = model.context_axis.upper()
        planes = stack.sizes[axis]
        if usable_context(planes, context) < context:
            raise InputError(
                f"the model was trained with {context} neighbour planes on either side "
                f"along {axis}, so it needs at least {2 * context} of them, but the "
                f"stack ({stack.axes}, shape {stack.shape}) has {planes}; train on "
                f"this stack instead, or name its axes with axes=."
            )
    return plane_series(stack, resolve_context_axis(stack, model.context_axis))


def _fit_recipe(
    recipe: Recipe, series: Sequence[PlaneSeries], settings: TrainSettings
) -> tuple[Recipe, str]:
    """Give the recipe the hole, and no more context than the planes allow."""
    wanted = 0 if settings.context == "none" else recipe.network.context
    planes = min(one.shape[0] for one in series)
    context = usable_context(planes, wanted)
    network = recipe.network.model_copy(
        update={"context": context, "hole": settings.hole}
    )
    note = ""
    if context < wanted:
        note = (
            "a single plane: no neighbour planes are used"
            if planes == 1
            else f"{planes} planes along {series[0].axis}: {context} neighbour plane "
            f"on either side is used instead of {wanted}"
        )
    return recipe.model_copy(update={"network": network}), note


def _source(series: PlaneSeries, channel: Channel) -> Source:
    return Source(
        series,
        channel.scale,
        channel.noise.normalized(channel.scale),
        channel.saturation,
    )


def _open_sinks(
    stack: Stack,
    series: PlaneSeries,
    block: tuple[int, int, int],
    settings: PredictSettings,
    out: Path | None,
    provenance: dict[str, Any],
) -> tuple[Sink, Sink | None]:
    dtype = stack.dtype if settings.dtype == "same" else np.dtype(np.float32)
    where = series.region(*(slice(0, n) for n in block))
    shape = tuple(where[axis].stop - where[axis].start for axis in stack.axes)

    def open_one(path: Path | None, dtype: np.dtype[Any], label: str) -> Sink:
        return open_sink(
            path,
            stack,
            dtype,
            shape,
            provenance=provenance,
            overwrite=settings.overwrite,
            label=label,
        )

    image = open_one(out, dtype, "denoised")
    if not settings.uncertainty:
        return image, None
    beside = uncertainty_path(out) if out is not None else None
    try:
        std = open_one(beside, np.dtype(np.float32), "uncertainty")
    except BaseException:
        image.abort()
        raise
    return image, std


def _noise_sentence(channels: Sequence[Channel]) -> str:
    parts = [f"gain {c.noise.gain:.3g} grey values per electron" for c in channels]
    warnings = [w for c in channels for w in c.noise.warnings]
    return "Noise: " + "; ".join([*parts, *warnings])
