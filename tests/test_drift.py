"""The level of the noise along a series: rescaled planes are told from dark ones."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest

import napari_blindspot as nb
from napari_blindspot.errors import Cancelled
from napari_blindspot.measure.drift import MOST_PLANES, Drift, measure_drift
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.planes import plane_series
from napari_blindspot.progress import CancelToken
from napari_blindspot.reporting.charts import points_with_errors
from napari_blindspot.reporting.report import report_html
from napari_blindspot.stack import Stack
from noisy import scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAIN, OFFSET, READ = 2.0, 100.0, 2.0
CAMERA = PoissonGaussian.from_camera(GAIN, OFFSET, READ)
FADED = np.exp(-np.arange(16) / 12)


def recorded(brightness: NDArray[np.float64], seed: int = 41) -> NDArray[np.float64]:
    """Record a scene whose planes are less and less bright."""
    rng = np.random.default_rng(seed)
    electrons = scene(rng, len(brightness), 96) * brightness[:, None, None]
    noisy = rng.poisson(electrons) + rng.normal(0, READ, electrons.shape)
    return GAIN * noisy + OFFSET


def rescaled(
    values: NDArray[np.float64], brightness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Make all planes as bright as one another, as a correction of bleaching does."""
    return (values - OFFSET) / brightness[:, None, None] + OFFSET


def drift_of(values: NDArray[Any]) -> Drift:
    series = plane_series(Stack(da.from_array(values, chunks=-1), "ZYX"), "z")[0]
    return measure_drift(series, CAMERA, math.inf, CancelToken())


def test_a_stack_corrected_for_bleaching_drifts() -> None:
    found = drift_of(rescaled(recorded(FADED), FADED))
    assert found.found
    assert (found.first, found.last) == (0, 15)
    # Photons alone gain by the factor, read noise by its square.
    assert 1 / FADED[-2] < 1 + found.change < 1 / FADED[-2] ** 2
    assert len(found.levels) == len(found.errors) == len(found.means) == 16
    assert found.sentence.startswith("the noise level grows 4-fold")
    assert "from the first to the last plane although" in found.sentence
    assert "noise_per_plane (--noise-per-plane)" in found.sentence


@pytest.mark.parametrize(
    "brightness",
    [
        pytest.param(np.ones(16), id="even"),
        pytest.param(FADED, id="bleached"),
        pytest.param(np.where(np.arange(16) % 5 == 2, 0.05, 1), id="dark planes"),
    ],
)
@pytest.mark.parametrize("seed", [42, 43])
def test_a_stack_as_recorded_does_not(
    brightness: NDArray[np.float64], seed: int
) -> None:
    found = drift_of(recorded(brightness, seed))
    assert not found.found
    assert found.sentence == ""
    np.testing.assert_allclose(found.levels, 1, atol=0.15)


def test_a_level_that_falls_and_rises_is_placed() -> None:
    brightness = 1 - 0.7 * np.abs(np.linspace(-1, 1, 17))
    found = drift_of(rescaled(recorded(brightness), brightness))
    assert found.found
    assert (found.first, found.last) in ((0, 8), (8, 16))
    assert f"from plane {found.first} to plane {found.last}" in found.sentence


def test_damaged_planes_are_no_drift() -> None:
    values = recorded(np.ones(16))
    values[9] += np.random.default_rng(44).normal(0, 60, values[9].shape)
    values[10] = np.nan
    found = drift_of(values)
    assert not found.found
    assert 10 not in found.planes
    assert 9 in found.planes


def test_a_short_stack_tells_no_drift() -> None:
    found = drift_of(rescaled(recorded(FADED), FADED)[::3])
    assert len(found.levels) == 6
    assert not found.found


def test_few_planes_of_a_long_series_are_read() -> None:
    read: list[slice] = []

    class Long:
        shape = (500, 400, 40)

        def read(self, planes: slice, y: slice, x: slice) -> NDArray[np.float32]:
            read.append(y)
            rng = np.random.default_rng(planes.start)
            size = (1, y.stop - y.start, x.stop - x.start)
            return rng.normal(100, 4, size).astype(np.float32)

    found = measure_drift(Long(), CAMERA, math.inf, CancelToken())  # type: ignore[arg-type]
    assert len(found.planes) == MOST_PLANES == len(read)
    assert (found.planes[0], found.planes[-1]) == (0, 499)
    assert set(map(str, read)) == {str(slice(72, 328))}
    assert not found.found


def test_it_can_be_cancelled() -> None:
    series = plane_series(Stack(da.zeros((4, 40, 40)), "ZYX"), "z")[0]
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        measure_drift(series, CAMERA, math.inf, cancel)


@pytest.fixture(scope="module")
def corrected() -> nb.Diagnosis:
    values = rescaled(recorded(FADED), FADED)
    return nb.diagnose(np.rint(np.clip(values, 0, None)).astype(np.uint16))


def test_a_diagnosis_says_so(corrected: nb.Diagnosis) -> None:
    facts = json.loads(json.dumps(corrected.as_dict()))["drift"]
    assert facts["found"] is True
    assert facts["planes"] == list(range(16))
    assert facts["levels"][-1] > 2 * facts["levels"][0]
    assert all(0 < error < 0.2 for error in facts["errors"])
    assert any("the planes were rescaled" in one for one in corrected.sentences())


def test_the_page_draws_level_and_mean_only_of_a_drift(corrected: nb.Diagnosis) -> None:
    title = "<title>Noise level of the planes</title>"
    page = report_html(corrected)
    assert title in page
    assert "<title>Mean of the planes</title>" in page
    plain = nb.diagnose(np.rint(recorded(np.ones(12))).astype(np.uint16))
    assert not plain.as_dict()["drift"]["found"]
    assert title not in report_html(plain)
    single = nb.diagnose(np.rint(recorded(np.ones(1), 45).repeat(2, axis=1)))
    assert single.as_dict()["drift"] is None


def test_a_plot_has_a_point_for_every_value() -> None:
    svg = points_with_errors(
        [3, 5], [1.0, 2.0], [0.1, 0.1], level=1.0, x_label="x", y_label="y", title="t"
    )
    assert svg.count("<circle") == 2
    assert svg.count("stroke-dasharray") == 1
