"""Commands that train a network and denoise: ``denoise``, ``train``, ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter

from napari_blindspot.cli.options import options_from
from napari_blindspot.cli.program import (
    Debug,
    Input,
    Json,
    Overwrite,
    app,
    follow,
    print_lines,
    report_facts,
)
from napari_blindspot.cli.show import json_line
from napari_blindspot.config import (
    DenoiseSettings,
    Quality,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import InputError


@app.command
@options_from(DenoiseSettings)
def denoise(
    source: Input,
    out: Annotated[
        Path,
        Parameter(name="OUTPUT", help="New .ome.zarr or .zarr folder, or .tif file."),
    ],
    /,
    *,
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
    """
    del debug  # read by main
    settings = parse_settings(DenoiseSettings, **options)
    from napari_blindspot import api
    from napari_blindspot.io import uncertainty_path

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
        Path,
        Parameter(
            name="INPUT... MODEL",
            help="Stacks to train on, then the new .safetensors model file.",
        ),
    ],
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train one network on one or several stacks and write a model file.

    All inputs, channels and time points train one network; every channel keeps its
    own scale and noise model; --channel trains on one channel alone.

    The model can be asked behind every blind spot: give denoise and preview another
    --hole. With --method atbsn the file holds the teacher; distill makes its student.
    """
    del debug
    settings = parse_settings(TrainSettings, **options)
    if len(paths) < 2:
        raise InputError(
            f"train needs at least one input and the model file to write, but got "
            f"{len(paths)} path(s); e.g. napari-blindspot train stack.tif "
            f"model.safetensors."
        )
    *sources, target = paths
    from napari_blindspot import api
    from napari_blindspot.model_file import check_model_path, save_model

    file = check_model_path(target, overwrite=overwrite)
    model = follow(lambda token: api.train_job(sources, settings, token))
    save_model(model, file, overwrite=overwrite)
    report_facts({"output": file, **api.describe(file)}, json=json)


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
