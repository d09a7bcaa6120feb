"""Commands that look and change nothing: ``info``, ``compare``, ``diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_blindspot.cli.job import PATH_OR_ADDRESS
from napari_blindspot.cli.options import OUTPUT, options_from
from napari_blindspot.cli.program import (
    Debug,
    Input,
    Json,
    Overwrite,
    app,
    follow,
    print_lines,
)
from napari_blindspot.cli.show import described_lines, json_line
from napari_blindspot.config import (
    CompareSettings,
    DiagnoseSettings,
    parse_settings,
)
from napari_blindspot.location import Location


@app.command
def info(
    file: Annotated[
        Location,
        PATH_OR_ADDRESS,
        Parameter(name="FILE", help="A stack, a denoised result or a model file."),
    ],
    /,
    *,
    job: Annotated[
        Path | None,
        Parameter(
            group=OUTPUT,
            show_default=False,
            help="Also write how a result or a model file was made to this new .yaml "
            "file, which --config of the other commands reads.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a stack, a denoised result or a model file holds."""
    del debug
    from napari_blindspot import api
    from napari_blindspot.reporting.job_file import write_job

    if job is not None:
        write_job(file, job, overwrite=overwrite)
    facts = api.describe(file)
    written = [] if job is None else [f"Job file: {job}"]
    if json:
        print_lines([json_line(facts if job is None else {**facts, "job": job})])
    else:
        print_lines([*described_lines(facts), *written])


@app.command
@options_from(CompareSettings)
def compare(
    result: Annotated[
        Location,
        PATH_OR_ADDRESS,
        Parameter(name="RESULT", help="Denoised stack, or any other."),
    ],
    reference: Annotated[
        Location,
        PATH_OR_ADDRESS,
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

    found = follow(lambda token: compare_job(result, reference, settings, token))
    print_lines([json_line(found.as_dict())] if json else found.sentences())


@app.command
@options_from(DiagnoseSettings)
def diagnose(
    source: Input,
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
    found = follow(lambda token: api.diagnose_job(source, settings, token))
    if report is not None:
        write_report(found, report, overwrite=overwrite)
    facts = {**found.as_dict(), "report": report}
    written = [f"Report: {report}"] if report is not None else []
    print_lines([json_line(facts)] if json else [*found.sentences(), *written])
