"""The demo: results, picture and figures against the known truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_blindspot.cli import main
from napari_blindspot.cli.show import json_line
from napari_blindspot.demo import demo_job
from napari_blindspot.progress import run
from napari_blindspot.sample import nuclei_phantom


def test_demo_measures_itself_against_the_truth(tmp_path: Path) -> None:
    result = run(demo_job(tmp_path / "demo", shape=(8, 48, 48), steps=1))
    facts = json.loads(json_line(result.as_dict()))
    for name in ("output", "uncertainty", "picture"):
        assert Path(facts[name]).exists()
        assert Path(facts[name]).parent == tmp_path / "demo"
    noisy = nuclei_phantom((8, 48, 48))
    error = np.mean((noisy.noisy - noisy.truth.astype(np.float64)) ** 2)
    assert facts["psnr_noisy"] == pytest.approx(10 * np.log10(noisy.scale**2 / error))
    # Even before it has learned, the network starts from a blind average.
    assert facts["psnr_denoised"] > facts["psnr_noisy"] + 3
    assert facts["ssim_denoised"] > facts["ssim_noisy"] + 0.1
    # Two pixels of 0.3 µm are the finest detail that there can be.
    assert 0.6 <= facts["resolution_um_denoised"] < 3
    said = "\n".join(result.sentences())
    assert f"denoised {result.psnr_denoised:.1f} dB" in said
    assert f"denoised down to {result.resolution_um_denoised:.2f} µm" in said
    assert str(result.picture) in said


def test_demo_leaves_an_earlier_one_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "before_after.png"
    picture.write_bytes(b"precious")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert picture.read_bytes() == b"precious"
