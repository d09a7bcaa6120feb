"""Commands for a quick answer: ``distill`` teaches a student, ``preview`` shows one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_blindspot.cli.job import Asked, Config, needs
from napari_blindspot.cli.options import options_from
from napari_blindspot.cli.program import (
    Debug,
    Json,
    OptionalInput,
    Overwrite,
    app,
    follow,
    report_facts,
)
from napari_blindspot.config import DistillSettings, PreviewSettings
from napari_blindspot.errors import InputError


@app.command(usage="Usage: napari-blindspot distill [OPTIONS] MODEL INPUT STUDENT")
@options_from(DistillSettings)
@needs(file="MODEL", source="INPUT", out="STUDENT")
def distill(
    file: Annotated[
        Path | None,
        Parameter(name="MODEL", help="Model file of the teacher, from train."),
    ] = None,
    source: OptionalInput = None,
    out: Annotated[
        Path | None, Parameter(name="STUDENT", help="New .safetensors model file.")
    ] = None,
    /,
    *,
    config: Config = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Teach a small plain network what a trained one says of a stack.

    The student answers several times faster and is used like any other model file. It
    has no blind spot to turn and gives no uncertainty. A teacher of --method atbsn is
    asked behind several blind spots, any other for its posterior mean.
    """
    del debug  # read by main
    asked = Asked("distill", config, options, model=file, input=source, output=out)
    settings = asked.settings(DistillSettings)
    from napari_blindspot import api
    from napari_blindspot.model_file import check_model_path, load_model, save_model

    target = check_model_path(asked.path("output"), overwrite=overwrite)
    made_by = asked.path("model")
    teacher, source = load_model(made_by), asked.source("input")
    if target.exists() and target.samefile(made_by):
        raise InputError(
            f"the student would replace its own teacher {made_by}; choose another name."
        )
    model = follow(lambda token: api.distill_job(teacher, source, settings, token))
    save_model(model, target, overwrite=overwrite)
    lessons = model.provenance["distillation"]
    facts = ("student", "seconds", "steps", "distance", "holes", "device")
    report_facts(
        {"output": target, **{name: lessons[name] for name in facts}}, json=json
    )


@app.command(usage="Usage: napari-blindspot preview [OPTIONS] INPUT OUT")
@options_from(PreviewSettings)
@needs(source="INPUT", out="OUT")
def preview(
    source: OptionalInput = None,
    out: Annotated[Path | None, Parameter(name="OUT", help="New .png file.")] = None,
    /,
    *,
    config: Config = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Write one plane of a stack denoised as a picture.

    Without --model and without a training time the start weights answer: a network
    that has seen no stack but generated ones, told the noise of this one; with
    --student tiny or small the shipped student, which answers fastest. With --quality,
    --minutes or --steps a network is trained first. Where there is nothing to start
    from (--start cold, --channels joint, weights that do not fit the stack) one is
    trained with --quality fast.

    With --model no more of the stack is read than the picture needs, and a student
    answers fastest. Only what is measured first reads more: --noise-per-plane the
    middle of all planes, --fixed-pattern, --gain-map and --hole auto parts of some,
    --student what its lessons show.

    The picture is an 8-bit grey PNG, one pixel for each of the stack, that shows the
    very values of a full run. Black is the 0.5 % quantile of the denoised plane and
    white its 99.8 % quantile; --beside shows the noisy plane with the same limits.
    """
    del debug
    asked = Asked("preview", config, options, input=source, output=out)
    settings = asked.settings(PreviewSettings)
    source, target = asked.source("input"), asked.path("output")
    from napari_blindspot.reporting.previewing import preview_job

    shown = follow(
        lambda token: preview_job(source, target, settings, token, overwrite=overwrite)
    )
    report_facts(shown.as_dict(), json=json)
