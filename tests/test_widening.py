"""`hole="auto"` looks at its own network: when the blind spot grows, and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_teacher
from napari_blindspot.facts import describe
from napari_blindspot.noise.field import NoiseField
from napari_blindspot.noise.likelihood import scaled
from napari_blindspot.noise.recalibration import Residuals
from napari_blindspot.noise.whiteness import AxisCorrelation, Correlation
from napari_blindspot.progress import CancelToken
from napari_blindspot.training import fitting, widening
from napari_blindspot.training.adjusting import UNTOUCHED
from napari_blindspot.training.holes import Holes, as_learnt
from napari_blindspot.training.inspection import Inspected
from napari_blindspot.training.stability import answers_change, next_larger
from napari_blindspot.training.widening import Widening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.networks.blindspot import Hole

SMALLEST = (1, 1, 1)
BEGUN = Holes(SMALLEST, SMALLEST, "The noise is white: blind spot 1 1 1 (z y x)")
FREE = (63, 63, 63)
STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


# --- real runs -----------------------------------------------------------------


def recording(shared: bool) -> NDArray[np.float32]:
    """Return a smooth scene with noise that is white, or blurred by 3×3 binomial."""
    from scipy import ndimage

    rng = np.random.default_rng(7)
    scene = ndimage.gaussian_filter(rng.normal(size=(6, 64, 64)), (1.5, 9, 9))
    noise = rng.normal(size=scene.shape)
    for axis in (1, 2) if shared else ():
        noise = ndimage.convolve1d(noise, [0.25, 0.5, 0.25], axis=axis, mode="wrap")
    values = (
        200 + 400 * (scene - scene.min()) / np.ptp(scene) + 30 * noise / noise.std()
    )
    return values.astype(np.float32)


def train(
    values: NDArray[Any], monkeypatch: pytest.MonkeyPatch, hole: Any = "auto"
) -> tuple[nb.Model, list[str]]:
    """Train on a stack whose diagnosis finds nothing."""
    monkeypatch.setattr(fitting, "choose_holes", lambda *_: BEGUN)
    told: list[str] = []
    model = nb.train(
        values,
        axes="ZYX",
        hole=hole,
        steps=STEPS,
        start="cold",
        threads=1,
        on_progress=lambda event: told.append(event.message),
    )
    return model, [one for one in told if one]


@pytest.fixture(scope="module")
def grown() -> tuple[nb.Model, list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        return train(recording(shared=True), patch)


def test_shared_noise_that_the_diagnosis_missed_enlarges_the_hole(
    grown: tuple[nb.Model, list[str]],
) -> None:
    model, told = grown
    z, y, x = model.result_hole
    assert z == 1
    assert min(y, x) >= 3
    assert model.network.settings.hole == model.result_hole
    assert any("the blind spot grows from 1 1 1 to" in one for one in told)
    words = " ".join(map(str, model.result_hole))
    settled = [one for one in told if one.startswith(f"Blind spot {words} (z y x)")]
    assert len(settled) == 1
    assert "the answer would change by" in settled[0]


def test_the_noise_is_measured_anew_behind_the_enlarged_hole(
    grown: tuple[nb.Model, list[str]],
) -> None:
    model, told = grown
    assert any(one.startswith("Seen by the network") for one in told)
    level = float(model.noise[0].variance(400.0)) ** 0.5
    assert level == pytest.approx(30, rel=0.5)


def test_the_file_and_its_paragraph_name_the_final_hole(
    grown: tuple[nb.Model, list[str]], tmp_path: Path
) -> None:
    model, _ = grown
    facts = describe(nb.save_model(model, tmp_path / "model.safetensors"))
    assert facts["network"]["hole"] == list(model.result_hole)
    choice = facts["provenance"]["hole_choice"]
    assert choice["hole"] == list(model.result_hole)
    assert choice["diagnosed"] == [1, 1, 1]
    assert choice["change"] >= 0
    assert choice["looks"][0]["scatter"] < 0.85
    z, y, x = model.result_hole
    assert f"a blind spot of {z} × {y} × {x} voxels" in facts["methods"]


def test_white_noise_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = recording(shared=False)
    model, told = train(values, monkeypatch)
    assert model.result_hole == SMALLEST
    assert not any("grows" in one for one in told)
    (settled,) = [one for one in told if one.startswith("Blind spot")]
    assert "scatter as the noise model says" in settled
    assert "behind 1 3 3 the answer would change by" in settled
    same, _ = train(values, monkeypatch, hole=SMALLEST)
    for one, other in zip(
        model.network.parameters(), same.network.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_a_given_hole_never_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    model, told = train(recording(shared=True), monkeypatch, hole=SMALLEST)
    assert model.result_hole == SMALLEST
    assert "hole_choice" not in model.provenance
    assert not any("grows" in one or one.startswith("Blind spot") for one in told)


# --- what is decided by what is seen ---------------------------------------------


def seen(scatter: float, hole: Hole, bright: float | None = None) -> Inspected:
    """Return residuals of a variance, and a correlation that asks for a hole."""
    y = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
    ones = np.ones_like(y)
    y *= np.float32(scatter**0.5) / y.std()
    mean = np.linspace(0, 1, y.size, dtype=np.float32)
    if bright is not None:
        y[mean > 0.75] *= np.float32((bright / scatter) ** 0.5)
    z, rows, columns = (
        AxisCorrelation(axis, (0.2,), (0.01,), size // 2)  # type: ignore[arg-type]
        for axis, size in zip("zyx", hole, strict=True)
    )
    return Inspected(
        Residuals(y + mean, mean, 0.1 * ones, 0.9 * ones, ones > 0),
        Correlation(z, rows, columns, y.size),
    )


class Looked:
    """A `Widening` that is shown one thing after the other."""

    def __init__(
        self,
        shown: list[tuple[Any, ...]],
        monkeypatch: pytest.MonkeyPatch,
        begun: Holes = BEGUN,
        largest: Hole = FREE,
    ) -> None:
        self.behind: list[Hole] = []

        def inspect(*args: Any) -> Inspected:
            self.behind.append(args[6])
            return seen(*shown[len(self.behind) - 1])

        monkeypatch.setattr(widening, "inspect", inspect)
        model = random_teacher()
        self.sampler = sampler_of(model)
        self.widening = Widening(
            self.sampler,
            begun,
            largest,
            torch.device("cpu"),
            CancelToken(),
            "posterior",
        )
        self.adjusted = [self.widening(model.teacher) for _ in widening.LOOK_AT]


def sampler_of(model: nb.Model, side: int = 48) -> Any:
    from napari_blindspot.config import Recipe
    from napari_blindspot.planes import plane_series
    from napari_blindspot.training.sampling import CropSampler, Source

    values = np.random.default_rng(3).poisson(40, (6, side, side)).astype(np.uint16)
    series = plane_series(nb.open_stack(values, axes="ZYX"), "z")[0]
    noise = NoiseField(model.noise[0].normalized(model.scales[0]))
    source = Source(series, model.scales[0], noise)
    return CropSampler([source], 1, Recipe(crop=32), model.teacher.stride, 0)


def test_a_correlated_residual_that_scatters_as_it_should_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = Looked([(0.95, (5, 1, 1))] * 3, monkeypatch)
    assert looked.adjusted == [UNTOUCHED] * 3
    assert len(looked.behind) == 2  # the last look only judges an enlargement


def test_missing_scatter_that_nobody_shares_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = Looked([(0.5, SMALLEST)] * 3, monkeypatch)
    assert looked.adjusted == [UNTOUCHED] * 3


def test_scatter_that_is_missing_in_the_dark_alone_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = Looked([(0.3, (1, 3, 3), 1.0)] * 3, monkeypatch)
    assert looked.adjusted == [UNTOUCHED] * 3
    sentence, _ = looked.widening.settled(random_teacher())
    assert "but not at every intensity" in sentence


def test_the_hole_grows_by_no_more_than_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = Looked([(0.4, (1, 13, 3)), (1.1, (1, 13, 13))], monkeypatch)
    assert looked.widening.holes.result == (1, 5, 3)
    assert [one.hole for one in looked.adjusted] == [(1, 5, 3), None, None]
    assert looked.behind == [SMALLEST, (1, 5, 3)]


def test_it_grows_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [(0.2, (1, 13, 13)), (0.5, (1, 13, 13)), (0.8, (1, 13, 13))]
    looked = Looked(shown, monkeypatch)
    assert [one.hole for one in looked.adjusted] == [(1, 5, 5), (1, 9, 9), None]


def test_a_larger_hole_that_brings_no_scatter_back_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = Looked([(0.7, (1, 3, 3)), (0.62, (1, 5, 5))], monkeypatch)
    one = looked.widening
    assert [step.hole for step in looked.adjusted] == [(1, 3, 3), SMALLEST, None]
    assert "goes back to 1 1 1" in looked.adjusted[1].sentence
    assert (one.holes, one.refused) == (BEGUN, (1, 3, 3))
    sentence, facts = one.settled(random_teacher())
    assert "scatter 30% less" in sentence
    assert "no more behind 1 3 3" in sentence
    assert (facts["hole"], facts["refused"]) == ([1, 1, 1], [1, 3, 3])


def test_only_the_second_enlargement_is_taken_back_where_the_first_was_of_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = [(0.4, (1, 3, 3)), (0.7, (1, 5, 5)), (0.7, (1, 7, 7))]
    looked = Looked(shown, monkeypatch)
    assert [one.hole for one in looked.adjusted] == [(1, 3, 3), (1, 5, 5), (1, 3, 3)]


def test_a_training_hole_that_was_asked_for_is_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = Holes((1, 3, 3), SMALLEST)
    looked = Looked([(0.4, (1, 9, 9)), (1.0, (1, 9, 9))], monkeypatch, begun, (1, 3, 3))
    assert looked.widening.holes == Holes((1, 3, 3), (1, 3, 3))


def test_advice_that_was_tried_in_vain_is_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_blindspot.noise.verdict import Verdict

    verdict = Verdict(False, "try a larger blind spot.", 0.6, 0.01)
    tried = Looked([(0.7, (1, 3, 3)), (0.62, (1, 3, 3))], monkeypatch).widening
    assert "try a larger" not in tried.judged(verdict).sentence
    assert not tried.judged(verdict).fits
    helped = Looked([(0.4, (1, 3, 3)), (1.0, (1, 3, 3))], monkeypatch).widening
    assert helped.judged(verdict) == verdict


# --- stability, and models that know ----------------------------------------------


@pytest.mark.parametrize("kind", [{}, {"answer": "mean"}], ids=["posterior", "mean"])
def test_the_change_of_the_answer_is_told_in_units_of_the_noise(kind: Any) -> None:
    model = random_teacher(**kind)
    args = sampler_of(model), SMALLEST
    cpu = torch.device("cpu")
    assert answers_change(model, *args, SMALLEST, cpu) == 0
    change = answers_change(model, *args, next_larger(SMALLEST), cpu)
    assert change is not None
    assert change > 0
    noisier = sampler_of(model)
    (source,) = noisier.sources
    four = NoiseField(scaled(source.noise.likelihood, 4.0))
    noisier.sources[0] = replace(source, noise=four)
    if kind:  # the posterior would weigh the voxel's own value otherwise
        other = answers_change(model, noisier, SMALLEST, next_larger(SMALLEST), cpu)
        assert other == pytest.approx(change / 2, rel=1e-5)


def test_the_next_larger_hole_keeps_its_depth() -> None:
    assert next_larger((3, 1, 5)) == (3, 3, 7)
    assert next_larger((1, 63, 63)) == (1, 63, 63)


def test_a_model_that_needed_a_larger_hole_is_not_asked_behind_a_smaller_one() -> None:
    found = Holes(SMALLEST, SMALLEST, "The noise is white: blind spot 1 1 1 (z y x)")
    model = random_teacher(hole=(1, 3, 3))
    assert as_learnt(found, model) == found
    model.provenance["hole_choice"] = {"hole": [1, 3, 3], "diagnosed": [1, 1, 1]}
    known = as_learnt(found, model)
    assert known.result == (1, 3, 3)
    assert "no smaller than 1 3 3" in known.sentence
    rows = as_learnt(Holes((1, 1, 7), (1, 1, 7), ""), model)
    assert rows.result == (1, 3, 7)
