from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_blindspot.api import describe

if TYPE_CHECKING:
    from pathlib import Path

    from napari_blindspot.sample import Phantom


def test_a_stack_that_cannot_be_denoised_is_described_all_the_same(
    tmp_path: Path,
) -> None:
    path = tmp_path / "dark.ome.tif"
    dark = np.zeros((4, 32, 32), np.uint16)
    tifffile.imwrite(path, dark, ome=True, metadata={"axes": "ZYX"})
    facts = describe(path)
    assert (facts["kind"], facts["shape"]) == ("stack", [4, 32, 32])
    assert "every value is 0" in facts["notes"][-1]
    assert "noise" not in facts


def test_a_pattern_of_files_is_described_as_one_stack(
    phantom: Phantom, tmp_path: Path
) -> None:
    for z, plane in enumerate(phantom.noisy[:3]):
        tifffile.imwrite(tmp_path / f"z_{z}.tif", plane)
    facts = describe(tmp_path / "z_*.tif")
    assert (facts["kind"], facts["axes"]) == ("stack", "ZYX")
    assert facts["shape"] == [3, 64, 64]
    assert facts["noise"][0]["gain"] > 0
