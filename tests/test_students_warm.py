"""A student of a teacher that started warm starts from shipped weights itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.config.students import StudentRecipe
from napari_blindspot.starts import shipped
from napari_blindspot.starts.shipped import read_weights, shipped_student_for
from napari_blindspot.training import distilling
from napari_blindspot.training.distilling import first_student

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.model import Model

CPU = {"device": "cpu", "threads": 1}


@pytest.fixture(autouse=True)
def _few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = StudentRecipe(steps=2, lessons=8, crop=32)
    monkeypatch.setattr(distilling, "student_recipe", lambda device_type: recipe)


def in_noise(**shape: Any) -> Model:
    """Return a teacher that sees its planes in units of the noise."""
    shape = {"depth": 3, "units": "noise", **shape}
    return told_its_noise(random_teacher(**shape))


def told_its_noise(teacher: Model) -> Model:
    for kind in range(teacher.settings.starts):
        noise = teacher.noise[kind].normalized(teacher.scales[kind])
        teacher.teacher.eyes.fit(noise.a, noise.b, noise.floor, kind)
    return teacher


@pytest.fixture
def dyes(rng: np.random.Generator) -> NDArray[np.uint16]:
    """Two channels of a small stack, one much brighter, (2, 6, 48, 48) uint16."""
    light = 60 + 40 * rng.random((6, 6, 6)).repeat(8, 1).repeat(8, 2)
    return rng.poisson(np.stack([light, 12 * light])).astype(np.uint16)


@pytest.mark.parametrize("context", [0, 1, 2])
def test_it_has_the_shipped_weights_and_the_noise_of_its_teacher(context: int) -> None:
    teacher = in_noise(context=context)
    pupil = first_student(teacher, "small")
    assert pupil.start is not None
    assert pupil.start["name"] == "student-small"
    student = pupil.network
    assert (student.settings.units, student.settings.context) == ("noise", context)
    weights = read_weights(shipped_student_for(student.settings))
    torch.testing.assert_close(student.last.weight, weights["last.weight"])
    for name, level in teacher.teacher.eyes.state_dict().items():
        torch.testing.assert_close(student.eyes.state_dict()[name], level)


def test_a_teacher_that_is_deeper_has_a_student_of_the_shipped_depth() -> None:
    pupil = first_student(in_noise(depth=4), "full")
    assert pupil.start is not None
    assert pupil.network.settings.depth == 3


def test_it_is_told_the_noise_that_its_teacher_saw_not_of_the_quietest_pixels() -> None:
    teacher = in_noise(starts=2)
    eyes = teacher.teacher.eyes
    for kind in (0, 1):  # as with dark frames, whose pixels differ
        eyes.level[kind] *= 3 + kind
    student = first_student(teacher, "small").network
    torch.testing.assert_close(student.eyes.state_dict(), eyes.state_dict())
    assert student.eyes.level is not eyes.level


def test_every_channel_is_told_its_own_noise(dyes: NDArray[np.uint16]) -> None:
    noise = nb.estimate_noise(dyes, axes="CZYX")
    scales = nb.shipped_student(dyes, axes="CZYX").scales
    teacher = replace(in_noise(starts=2), noise=noise, scales=scales)
    told_its_noise(teacher)
    untaught = replace(teacher, network=first_student(teacher, "small").network.eval())
    both = nb.predict(untaught, dyes, axes="CZYX", **CPU).image
    for channel, one in enumerate(both):
        noisy = dyes[channel].astype(float)
        assert one.mean() == pytest.approx(noisy.mean(), rel=0.05)
        assert one.std() < noisy.std()
    student = nb.distill(teacher, dyes, axes="CZYX", student="small", **CPU)
    assert (student.settings.units, student.settings.starts) == ("noise", 2)
    assert student.provenance["distillation"]["start"]["name"] == "student-small"
    eyes = student.network.eyes
    expected = [n.normalized(s) for n, s in zip(student.noise, student.scales)]  # noqa: B905
    torch.testing.assert_close(eyes.slope, torch.tensor([one.a for one in expected]))


@pytest.mark.parametrize(
    ("start", "name"), [("warm", "student-small"), ("cold", "teacher")]
)
def test_shipped_weights_are_taken_where_they_are_wanted(
    start: str, name: str, dyes: NDArray[np.uint16]
) -> None:
    usual: dict[str, Any] = {"axes": "ZYX", "student": "small", **CPU}
    student = nb.distill(in_noise(), dyes[0], start=start, **usual)
    assert student.provenance["distillation"]["start"]["name"] == name


def test_what_was_learnt_beside_the_plain_kernel_keeps_it(
    dyes: NDArray[np.uint16],
) -> None:
    model = in_noise()
    student = nb.distill(model, dyes[0], axes="ZYX", student="small", steps=1, **CPU)
    kernel = student.network.kernel
    assert float(kernel.sum()) == 1.0
    assert float(student.network.unit) == 1.0
    assert int((kernel != 0).sum()) == 1


@pytest.mark.parametrize(
    "why", ["other units", "size", "several together", "not used", "altered"]
)
def test_without_shipped_weights_it_starts_from_its_teacher(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, size = in_noise(), "small"
    if why == "other units":
        teacher = random_teacher(depth=3)
    elif why == "size":
        size = "full"  # as deep as its teacher, of which there are no weights
        teacher = told_its_noise(random_teacher(depth=2, units="noise"))
    elif why == "several together":
        teacher = random_teacher(depth=3, channels=2)
    elif why == "not used":
        teacher = replace(teacher, provenance={"start": {"used": False}})
    else:
        for file in shipped.weights_folder().iterdir():
            content = file.read_bytes()
            altered = content if file.suffix == ".json" else content[:-1] + b"x"
            (tmp_path / file.name).write_bytes(altered)
        monkeypatch.setattr(shipped, "weights_folder", lambda: tmp_path)
    pupil = first_student(teacher, size)  # type: ignore[arg-type]
    assert pupil.start is None
    assert pupil.network.settings.units == "scale"
    assert ("checksum" in pupil.sentence) == (why == "altered")
