"""The Planaria benchmark on a generated folder of the published layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_blindspot import api
from napari_blindspot.errors import InputError
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def planaria(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "planaria", raising=False)
    import planaria

    return planaria


@pytest.fixture
def published_layout(tmp_path: Path) -> Path:
    """Two stacks in GT and three conditions of falling light."""
    data = tmp_path / "Denoising_Planaria"
    for seed in (1, 2):
        for folder, photons in (("condition_1", 40), ("condition_2", 10),
                                ("condition_3", 3)):  # fmt: skip
            phantom = nuclei_phantom((8, 32, 32), seed=seed, photons=photons)
            path = data / "test_data" / folder / f"stack_{seed}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, phantom.noisy, metadata={"axes": "ZYX"})
        truth = data / "test_data" / "GT" / f"stack_{seed}.tif"
        truth.parent.mkdir(exist_ok=True)
        tifffile.imwrite(truth, np.rint(phantom.truth * 50).astype(np.uint16))
    return data


def test_scores_ignore_an_affine_map_of_the_image(
    planaria: ModuleType, rng: np.random.Generator
) -> None:
    truth = rng.gamma(2.0, 100.0, (8, 32, 32))
    noisy = truth + rng.normal(0, 30, truth.shape)
    psnr, ssim = planaria.score(noisy, truth)
    again = planaria.score(0.02 * noisy + 7, truth)
    assert again == (pytest.approx(psnr, abs=1e-3), pytest.approx(ssim, abs=1e-3))


def test_psnr_has_range_one_on_the_truth_between_its_quantiles(
    planaria: ModuleType, rng: np.random.Generator
) -> None:
    truth = rng.uniform(0.0, 1000.0, (16, 64, 64))
    noise = rng.normal(0, 10.0, truth.shape)
    low, high = np.percentile(truth, [0.1, 99.9])
    psnr, _ = planaria.score(truth + noise, truth)
    assert psnr == pytest.approx(20 * np.log10((high - low) / 10.0), abs=0.1)


def test_table_is_filled_and_a_second_run_does_nothing_again(
    planaria: ModuleType,
    published_layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "planaria.md"
    words = ["--data", str(published_layout), "--steps", "2", "--device", "cpu"]
    words += ["--limit", "1", "--out", str(out)]
    planaria.main(words)
    page = out.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| condition_")]
    noisy = [float(row.split("|")[3]) for row in rows]
    assert len(rows) == 3
    assert noisy[0] > noisy[1] > noisy[2]
    assert "steps 2" in page
    assert "Seed 0" in page
    assert len(json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))) == 3

    def refuse(*args: object, **options: object) -> None:
        pytest.fail("a finished stack was denoised again")

    monkeypatch.setattr(api, "denoise_job", refuse)
    planaria.main(words)
    again = out.read_text(encoding="utf-8").splitlines()
    assert [line for line in again if line.startswith("| condition_")] == rows


def test_a_run_goes_on_where_it_stopped(
    planaria: ModuleType,
    published_layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def stop_at_third(noisy: Path, truth: Path, settings: object) -> dict[str, object]:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(f"{noisy.parent.name}/{noisy.name}")
        return {**dict.fromkeys(planaria.SCORES, 1.0), "device": "cpu"}

    monkeypatch.setattr(planaria, "denoise_and_score", stop_at_third)
    words = ["--data", str(published_layout), "--steps", "2"]
    words += ["--out", str(tmp_path / "p.md")]
    with pytest.raises(KeyboardInterrupt):
        planaria.main(words)
    assert len(json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))) == 2
    with pytest.raises(KeyboardInterrupt):
        planaria.main(words)
    assert done == ["condition_1/stack_1.tif", "condition_1/stack_2.tif"]


def test_a_folder_of_another_layout_is_refused(
    planaria: ModuleType, published_layout: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds no folder GT"):
        planaria.find_test_data(tmp_path / "elsewhere")
    data = planaria.find_test_data(published_layout)
    (data / "GT" / "stack_2.tif").unlink()
    with pytest.raises(InputError, match="has no ground truth"):
        list(planaria.pairs(data, None))
