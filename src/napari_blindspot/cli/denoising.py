"""Commands that train a network and denoise: ``denoise``, ``train``, ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter

from napari_blindspot.cli.folder import (
    denoise_files,
    is_about_folder,
    refuse_folder_settings,
)
from napari_blindspot.cli.job import PATH_OR_ADDRESS, Asked, Config, needs
from napari_blindspot.cli.options import options_from
from napari_blindspot.cli.program import (
    Debug,
    Json,
    OptionalInput,
    Overwrite,
    Resume,
    app,
    follow,
    print_lines,
    report_facts,
)
from napari_blindspot.cli.show import json_line, trained_lines
from napari_blindspot.config import DenoiseSettings, Quality, TrainSettings
from napari_blindspot.config.batch import BatchSettings
from napari_blindspot.config.keeping import KeepSettings
from napari_blindspot.errors import InputError
from napari_blindspot.location import Location

_COMPLETE = (
    "complete already: an earlier run made it with these settings from this source"
)


@app.command(usage="Usage: napari-blindspot denoise [OPTIONS] INPUT OUTPUT")
@options_from(BatchSettings)
@needs(source="INPUT", out="OUTPUT")
def denoise(
    source: OptionalInput = None,
    out: Annotated[
        Location | None,
        PATH_OR_ADDRESS,
        Parameter(
            name="OUTPUT",
            help="New .ome.zarr or .zarr folder, also at s3://, or .tif file; for a "
            "folder of files, the folder of the outputs.",
        ),
    ] = None,
    /,
    *,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train on a stack and write it denoised, in the grey values of the input.

    One network is trained for all channels and time points of the input; every channel
    keeps its own scale and noise model; --channel trains on one channel alone.

    With --uncertainty the posterior standard deviation of every voxel is written
    beside the output.

    With --method atbsn a student is taught by the trained network and its answer is
    written; --student none writes that of the network itself.

    Where INPUT is a folder, each of its files is a stack of its own and OUTPUT the
    folder of their outputs; files that fail are listed at the end.
    """
    asked = Asked("denoise", config, options, input=source, output=out)
    chosen = asked.settings(BatchSettings)
    if is_about_folder(asked):
        denoise_files(asked, chosen, json=json, debug=debug)
        return
    refuse_folder_settings(asked)
    settings = asked.settings(DenoiseSettings)
    source, out = asked.source("input"), asked.location("output")
    from napari_blindspot import api
    from napari_blindspot.io import uncertainty_path

    if settings.resume and api.is_complete(source, settings, out):
        report_facts({"output": out, "kept": _COMPLETE}, json=json)
        return
    result = follow(lambda token: api.denoise_job(source, settings, out, token))
    noise = [model.as_dict() for model in result.noise]
    report_facts(
        {
            "output": result.path,
            "uncertainty": uncertainty_path(out) if settings.uncertainty else None,
            **result.metrics,
            "noise": noise[0] if len(noise) == 1 else noise,
        },
        json=json,
    )


@app.command(usage="Usage: napari-blindspot train [OPTIONS] INPUT... MODEL")
@options_from(TrainSettings)
def train(
    *paths: Annotated[
        Location,
        PATH_OR_ADDRESS,
        Parameter(
            name="INPUT... MODEL",
            help="Stacks to train on, then the new .safetensors model file.",
        ),
    ],
    config: Config = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train one network on one or several stacks and write a model file.

    All inputs, channels and time points train one network; every channel keeps its
    own scale and noise model; --channel trains on one channel alone.

    The model can be asked behind every blind spot: give denoise and preview another
    --hole. With --method atbsn the file holds the teacher; distill makes its student.

    While it trains, its state is kept in MODEL.partial; if it is stopped, the same
    command with --resume goes on from there.
    """
    del debug
    typed: dict[str, Location | list[Location]] = {}
    if paths:
        typed = {"input": list(paths[:-1]), "output": paths[-1]}
    asked = Asked("train", config, options, **typed)
    settings = asked.settings(TrainSettings)
    if len(paths) < 2 and (paths or config is None):
        raise InputError(
            f"train needs at least one input and the model file to write, but got "
            f"{len(paths)} path(s); e.g. napari-blindspot train stack.tif "
            f"model.safetensors."
        )
    sources, target = asked.paths("input"), asked.path("output")
    from napari_blindspot import api
    from napari_blindspot.io.outputs import partial_path, remove
    from napari_blindspot.model_file import check_model_path, save_model

    file = check_model_path(target, overwrite=True)
    state = partial_path(file)
    # First: what an older model is refused with would cost what was learnt.
    keep = KeepSettings(checkpoint=state, resume=resume, overwrite=overwrite)
    api.check_keeping(keep)
    check_model_path(file, overwrite=overwrite)
    model = follow(lambda token: api.train_job(sources, settings, token, keep=keep))
    save_model(model, file, overwrite=overwrite)
    remove(state)
    facts = {"output": file, **api.describe(file)}
    print_lines([json_line(facts)] if json else trained_lines(facts))


@app.command
def demo(
    *,
    out: Annotated[
        Path, Parameter(help="Folder for the denoised stack and the picture.")
    ] = Path("demo"),
    quality: Annotated[
        Quality,
        Parameter(
            help="Training time and network size.",
            metavar="|".join(get_args(Quality)),
            show_choices=False,
        ),
    ] = "fast",
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Denoise a generated stack whose truth is known, and say how well it went."""
    del debug
    from napari_blindspot.demo import demo_job

    result = follow(
        lambda token: demo_job(out, quality, overwrite=overwrite, cancel=token)
    )
    print_lines([json_line(result.as_dict())] if json else result.sentences())
