"""Previews of stacks whose camera is known, and which plane they say they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.config import PredictSettings, PreviewSettings, parse_settings
from napari_blindspot.config.students import StudentRecipe
from napari_blindspot.errors import Cancelled, InputError, OutputExistsError
from napari_blindspot.inference.previewing import Previewer
from napari_blindspot.jobs import model_of
from napari_blindspot.measure import camera_maps
from napari_blindspot.measure.correction import correct
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.reporting import previewing
from napari_blindspot.reporting.previewing import preview_job
from napari_blindspot.training import distilling

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.progress import Job
    from napari_blindspot.reporting.previewing import Preview

SIDE, PLANES = 96, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of one channel and one of two, each with its dark stack.

    Without light the first channel is a ramp, and the second is 300 grey values
    brighter in its right half.
    """
    folder = tmp_path_factory.mktemp("cameras")
    rng = np.random.default_rng(4)
    offset = np.full((2, SIDE, SIDE), 100.0)
    offset[0] += np.linspace(0, 40, SIDE)
    offset[1, :, SIDE // 2 :] += 300
    light = 2.0 * rng.poisson(60, (PLANES, 2, SIDE, SIDE))
    stack = light + rng.normal(offset, 3, light.shape)
    dark = rng.normal(offset, 3, (24, 2, SIDE, SIDE))
    for name, values in (("stack", stack), ("dark", dark)):
        values = np.rint(values).astype(np.uint16)
        for kind, part, axes in (
            ("one", values[:, 0], "ZYX"),
            ("two", values, "ZCYX"),
        ):
            path = folder / f"{name}-{kind}.tif"
            tifffile.imwrite(path, part, metadata={"axes": axes}, imagej=True)
    return folder


@pytest.fixture(autouse=True)
def _few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = StudentRecipe(steps=2, lessons=8, crop=32)
    monkeypatch.setattr(distilling, "student_recipe", lambda device_type: recipe)


def previewed(source: Path, out: Path, **options: Any) -> Preview:
    shown: Preview = run(job_of(source, out, **options))
    return shown


def job_of(source: Path, out: Path, **options: Any) -> Job[Preview]:
    if "model" not in options:
        options["steps"] = 2
    settings = parse_settings(PreviewSettings, device="cpu", threads=1, **options)
    return preview_job(source, out, settings)


def grey(path: Path) -> NDArray[Any]:
    return np.asarray(Image.open(path)).astype(float)


def half_step(picture: NDArray[Any]) -> float:
    """Return by how much the right half is brighter, over the spread of the left."""
    left, right = np.split(picture, 2, axis=1)
    return float((right.mean() - left.mean()) / left.std())


@pytest.mark.parametrize("model", [False, True], ids=["trained", "model"])
def test_a_region_leaves_the_camera_whole(
    model: bool, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.png"
    options: dict[str, Any] = {"dark": folder / "dark-one.tif"}
    if model:
        path = nb.save_model(random_teacher(), tmp_path / "m.safetensors")
        options |= {"model": path, "student": "tiny"}
    region = "y=0:48,x=0:48"
    shown = previewed(folder / "stack-one.tif", out, region=region, **options)
    assert (shown.y, shown.x) == ((0, 48), (0, 48))
    assert grey(out).shape == (48, 48)


@pytest.mark.parametrize("student", ["none", "tiny"])
def test_a_channel_is_corrected_by_its_own_dark_frames(
    student: str, folder: Path, tmp_path: Path
) -> None:
    out, dark = tmp_path / "p.png", folder / "dark-two.tif"
    # The noisy image alone is shown, so that nothing but the offsets tells.
    options = {"channel": 1, "student": student, "strength": 0}
    previewed(folder / "stack-two.tif", out, dark=dark, **options)
    assert abs(half_step(grey(out))) < 0.1


def test_a_student_of_joint_channels_is_taught_with_the_darkness_of_each(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[float] = []

    def watched(*args: Any) -> Any:
        done = correct(*args)
        taught.extend(one.base_offset for one in done.dark)
        return done

    monkeypatch.setattr(distilling, "correct", watched)
    out, dark = tmp_path / "p.png", folder / "dark-two.tif"
    model = nb.save_model(random_teacher(channels=2), tmp_path / "m.safetensors")
    options = {"model": model, "channel": 1, "student": "tiny", "strength": 0}
    shown = previewed(folder / "stack-two.tif", out, dark=dark, **options)
    assert taught == pytest.approx([120, 250], abs=0.5)
    assert shown.channel == 1
    assert abs(half_step(grey(out))) < 0.1


def test_the_camera_is_read_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def counted(source: Any, **options: Any) -> Any:
        opened.append(source)
        return nb.open_stack(source, **options)

    monkeypatch.setattr(camera_maps, "open_stack", counted)
    dark = folder / "dark-one.tif"
    previewed(folder / "stack-one.tif", tmp_path / "p.png", dark=dark, student="tiny")
    assert opened == [dark]


def test_the_channel_is_that_of_the_source(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.png"
    shown = previewed(folder / "stack-two.tif", out, channel=1, strength=0)
    assert shown.channel == 1
    assert half_step(grey(out)) > 3  # of a camera that was not corrected


def test_a_channel_that_is_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="channel=2 is not in this stack"):
        previewed(folder / "stack-two.tif", tmp_path / "p.png", channel=2)


def test_measuring_every_plane_can_be_cancelled(folder: Path) -> None:
    stack = nb.open_stack(folder / "stack-one.tif")
    settings = PredictSettings(device="cpu", noise_per_plane=True)
    cancel = CancelToken()
    Previewer(random_teacher(), stack, settings, cancel=cancel)
    cancel.cancel()
    with pytest.raises(Cancelled):
        Previewer(random_teacher(), stack, settings, cancel=cancel)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_picture_that_appeared_meanwhile_is_kept_unless_asked(
    overwrite: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.png"

    def slowly(*args: Any) -> Any:
        out.write_bytes(b"precious")
        return (yield from model_of(*args))

    monkeypatch.setattr(previewing, "model_of", slowly)
    model = nb.save_model(random_teacher(), tmp_path / "m.safetensors")
    settings = parse_settings(PreviewSettings, device="cpu", model=model)
    job = preview_job(folder / "stack-one.tif", out, settings, overwrite=overwrite)
    if overwrite:
        run(job)
        assert grey(out).shape == (SIDE, SIDE)
    else:
        with pytest.raises(OutputExistsError, match=r"^picture .*p\.png' exists alr"):
            run(job)
        assert out.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == [model, out]
