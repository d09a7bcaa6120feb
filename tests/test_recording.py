"""Clipping, rescaling and compression are noticed; raw recordings are left alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_blindspot.noise.artefacts import saturation_level
from napari_blindspot.noise.estimate import measure_noise
from napari_blindspot.noise.recording import grey_grid, inspect_recording
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_blindspot.noise.recording import Recording

    Change = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.float64]:
    return nuclei_phantom((8, 160, 160), seed=4, photons=60).noisy.astype(float)


def inspected(stack: NDArray[np.generic]) -> Recording:
    planes, saturation = list(stack), saturation_level(stack.ravel())
    return inspect_recording(
        planes, measure_noise(planes, saturation).points, saturation
    )


def jpeg(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(plane).save(file, "JPEG", quality=40)
    return np.array(Image.open(file))


@pytest.mark.parametrize("photons", [5, 20, 80])
def test_a_raw_recording_has_no_problem(photons: float) -> None:
    found = inspected(nuclei_phantom((8, 160, 160), seed=4, photons=photons).noisy)
    assert found.problems == ()
    assert (found.grey_step, found.missing_values) == (1, 0)


def test_counted_photons_are_not_called_cut_off(noisy: NDArray[np.float64]) -> None:
    rate = np.clip(noisy - 95, 0, None) / 100
    counts = np.random.default_rng(0).poisson(rate).astype(np.uint8)
    found = inspected(counts)
    assert found.zero_share > 0.4
    assert found.problems == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda y: np.clip(y - 102, 0, None), "cut off", id="background"),
        pytest.param(
            lambda y: np.minimum(y, np.quantile(y, 0.96)), "saturated", id="saturated"
        ),
        pytest.param(lambda y: np.round(y * 1.37), "never occur", id="stretched"),
        pytest.param(
            lambda y: np.round(2000 * np.log(y - 60)), "not grow linearly", id="log"
        ),
    ],
)
def test_what_was_done_to_the_values_is_said(
    noisy: NDArray[np.float64], change: Change, words: str
) -> None:
    found = inspected(change(noisy).astype(np.uint16))
    assert any(words in problem for problem in found.problems)


def test_jpeg_blocks_are_seen_wherever_the_stack_was_cropped(
    noisy: NDArray[np.float64],
) -> None:
    bytes_ = np.clip((noisy - 90) * 255 / np.ptp(noisy), 0, 255).astype(np.uint8)
    squeezed = np.stack([jpeg(plane) for plane in bytes_])
    assert not inspected(bytes_).blocks
    assert inspected(squeezed).blocks
    assert inspected(squeezed[:, 3:, 5:]).blocks


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(np.arange(0, 1600, 16).repeat(100), (16.0, 0.0), id="shifted"),
        pytest.param(np.linspace(0, 1, 5000), (0.0, 0.0), id="real-numbers"),
        pytest.param(np.arange(50.0).repeat(99), (1.0, 0.0), id="whole-floats"),
        pytest.param(np.array([3, 3, 3]), (1.0, 0.0), id="constant"),
        pytest.param(
            np.r_[np.zeros(2000, int), np.arange(50, 80).repeat(99)],
            (1.0, 0.0),
            id="padded",
        ),
        pytest.param(np.arange(0, 9000, 7), (7.0, 0.0), id="too-few-to-tell"),
    ],
)
def test_grid_of_grey_values(
    values: NDArray[np.generic], expected: tuple[float, float]
) -> None:
    assert grey_grid(values) == expected


def test_missing_grey_values_widen_the_rounding() -> None:
    levels = np.round(np.arange(200) * 1.5).astype(int).repeat(100)
    step, missing = grey_grid(levels)
    assert step == 1
    assert missing == pytest.approx(1 / 3, abs=0.02)
