"""The shell command ``napari-blindspot``.

Torch, dask and zarr are imported inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from napari_blindspot.cli.guard import Exit, cancel_on_interrupt, guarded
from napari_blindspot.cli.options import OUTPUT, REPORT, options_from
from napari_blindspot.cli.show import (
    EventView,
    described_lines,
    fact_lines,
    json_line,
    plain_console,
)
from napari_blindspot.cli.usage import PROGRAM, usage_lines
from napari_blindspot.config import (
    CompareSettings,
    DenoiseSettings,
    DiagnoseSettings,
    Quality,
    TrainSettings,
    parse_settings,
)
from napari_blindspot.errors import InputError
from napari_blindspot.progress import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_blindspot.progress import CancelToken, Job


def _version() -> str:
    from napari_blindspot import __version__

    return __version__


app = App(
    name=PROGRAM,
    help="Denoise a microscopy stack with a network trained on that very stack.",
    help_epilogue=(
        "Exit codes: 0 success, 1 the run failed, 2 bad use or bad input, "
        "130 interrupted."
    ),
    version=_version,
)

Json = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=REPORT,
        help="Print the facts as one last line of JSON on standard output.",
    ),
]
Debug = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=REPORT,
        help="Show the traceback of an error.",
    ),
]
Overwrite = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        group=OUTPUT,
        help="Replace an existing output.",
    ),
]


@app.command
@options_from(DenoiseSettings)
def denoise(
    source: Annotated[
        Path,
        Parameter(name="INPUT", help="TIFF file, file-name pattern, zarr or OME-Zarr."),
    ],
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
    """
    del debug  # read by main
    settings = parse_settings(DenoiseSettings, **options)
    from napari_blindspot import api
    from napari_blindspot.io import uncertainty_path

    result = _follow(lambda token: api.denoise_job(source, settings, out, token))
    noise = [model.as_dict() for model in result.noise]
    _report(
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
    model = _follow(lambda token: api.train_job(sources, settings, token))
    save_model(model, file, overwrite=overwrite)
    _report({"output": file, **api.describe(file)}, json=json)


@app.command
def info(
    file: Annotated[
        Path, Parameter(name="FILE", help="A stack, a denoised result or a model file.")
    ],
    /,
    *,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a stack, a denoised result or a model file holds."""
    del debug
    from napari_blindspot import api

    facts = api.describe(file)
    _print([json_line(facts)] if json else described_lines(facts))


@app.command
@options_from(CompareSettings)
def compare(
    result: Annotated[
        Path, Parameter(name="RESULT", help="Denoised stack, or any other.")
    ],
    reference: Annotated[
        Path,
        Parameter(
            name="REFERENCE", help="Its truth, a repeat, or the noisy input of RESULT."
        ),
    ],
    /,
    *,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Measure a result against a reference.

    PSNR, SSIM, resolution (Fourier ring and shell correlation), and whether mean
    intensities were kept, for every channel. Use --bin-by result where REFERENCE is
    noisy: a repeat, or the input that RESULT was made from.
    """
    del debug
    settings = parse_settings(CompareSettings, **options)
    from napari_blindspot.reporting.comparing import compare_job

    found = _follow(lambda token: compare_job(result, reference, settings, token))
    _print([json_line(found.as_dict())] if json else found.sentences())


@app.command
@options_from(DiagnoseSettings)
def diagnose(
    source: Annotated[
        Path,
        Parameter(name="INPUT", help="TIFF file, file-name pattern, zarr or OME-Zarr."),
    ],
    /,
    *,
    report: Annotated[
        Path | None,
        Parameter(
            group=OUTPUT,
            show_default=False,
            help="Also write plots and words to this new .html file.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Say what the noise of a stack is like, and which blind spot suits it.

    Camera model with intervals, correlation between neighbours, fixed patterns,
    clipping and compression, for every channel; nothing is trained. What is given
    about the camera is held against the stack.
    """
    del debug
    settings = parse_settings(DiagnoseSettings, **options)
    from napari_blindspot import api
    from napari_blindspot.reporting.report import check_report_path, write_report

    if report is not None:
        check_report_path(report, overwrite=overwrite)
    found = _follow(lambda token: api.diagnose_job(source, settings, token))
    if report is not None:
        write_report(found, report, overwrite=overwrite)
    facts = {**found.as_dict(), "report": report}
    written = [f"Report: {report}"] if report is not None else []
    _print([json_line(facts)] if json else [*found.sentences(), *written])


@app.command
def demo(
    *,
    out: Annotated[
        Path, Parameter(help="Folder for the denoised stack and the picture.")
    ] = Path("demo"),
    quality: Annotated[
        Quality, Parameter(help="Training time and network size.")
    ] = "fast",
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Denoise a generated stack whose truth is known, and say how well it went."""
    del debug
    from napari_blindspot.demo import demo_job

    result = _follow(
        lambda token: demo_job(out, quality, overwrite=overwrite, cancel=token)
    )
    _print([json_line(result.as_dict())] if json else result.sentences())


def _follow(start: Callable[[CancelToken], Job[Any]]) -> Any:
    """Run a job to its end, showing its events and heeding Ctrl-C."""
    with cancel_on_interrupt() as token, EventView() as view:
        return run(start(token), view)


def _report(facts: Mapping[str, Any], *, json: bool) -> None:
    """Print the facts on standard output: one JSON line, or lines for people."""
    _print([json_line(facts)] if json else fact_lines(facts))


def _print(lines: list[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the shell command.

    Parameters
    ----------
    tokens
        Arguments; those of the process unless given.

    Returns
    -------
    int
        Exit code: 0 success, 1 the run failed, 2 bad use or bad input,
        130 interrupted.
    """
    console = plain_console(stderr=True)
    try:
        command, bound, _ = app.parse_args(
            tokens, exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        for line in usage_lines(error):
            console.print(line)
        return Exit.BAD_USE
    return guarded(
        lambda: command(*bound.args, **bound.kwargs),
        console,
        debug=bool(bound.arguments.get("debug", False)),
    )
