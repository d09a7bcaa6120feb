"""A region restricts training or output, and what comes out keeps its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tifffile

import napari_blindspot as nb
from napari_blindspot.cli import main
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.io import open_stack
from napari_blindspot.io.region import parse_region
from napari_blindspot.model_file import save_model
from napari_blindspot.sample import nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

QUICK = {"steps": 1, "device": "cpu", "threads": 1}
STEP = (2.0, 0.5, 0.25)


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.uint16]:
    return nuclei_phantom((6, 64, 64), seed=3).noisy


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("1:5,8:56,16:64", "z=1:5,y=8:56,x=16:64"),
        (" 1:5 , :56 ,16:", "z=1:5,y=:56,x=16:"),
        ("8:56,16:64", "y=8:56,x=16:64"),
        ("z=1:5", "z=1:5"),
    ],
)
def test_ranges_without_names_are_along_z_y_x(
    noisy: NDArray[np.uint16], given: str, named: str
) -> None:
    assert parse_settings(DenoiseSettings, region=given).region == named
    cut, same = (open_stack(noisy, "ZYX", region=one) for one in (given, named))
    assert (cut.shape, cut.translation) == (same.shape, same.translation)


def test_ranges_of_axes_that_are_not_there_are_refused(
    noisy: NDArray[np.uint16],
) -> None:
    with pytest.raises(InputError, match="names the axis 'z'"):
        open_stack(noisy, "TYX", region="0:2,0:32,0:32")
    for odd in ("0:2", "0:2,,0:32", "0:1,0:1,0:1,0:1"):
        with pytest.raises(InputError, match="along z, y and x"):
            open_stack(noisy, "ZYX", region=odd)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif"])
def test_the_shell_keeps_the_place_of_a_region(
    noisy: NDArray[np.uint16], tmp_path: Path, suffix: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noisy, metadata={"axes": "ZYX"}, imagej=True)
    out = tmp_path / f"b{suffix}"
    words = "--region 1:5,8:56,16:64 --steps 1 --device cpu --threads 1 --voxel-size"
    size = [str(step) for step in STEP]
    assert (
        main(["denoise", str(tmp_path / "a.tif"), str(out), *words.split(), *size]) == 0
    )
    result = open_stack(out)
    assert result.shape == (4, 48, 48)
    assert result.voxel_size == pytest.approx(STEP)
    if suffix == ".ome.zarr":
        assert result.translation == pytest.approx((2.0, 4.0, 4.0))


def test_a_model_of_a_region_denoises_all_of_the_stack_or_another_part(
    noisy: NDArray[np.uint16], tmp_path: Path
) -> None:
    stack = nb.open_stack(noisy, "ZYX", STEP)
    model = nb.train(stack, region="0:4,0:48,0:48", **QUICK)
    assert model.provenance["sources"][0]["shape"] == [4, 48, 48]
    assert model.provenance["settings"]["region"] == "z=0:4,y=0:48,x=0:48"
    whole = nb.predict(model, stack, device="cpu", threads=1)
    assert whole.image.shape == noisy.shape
    file = save_model(model, tmp_path / "m.safetensors")
    part = nb.denoise(
        stack, model=file, region="2:6,0:64,0:32", device="cpu", threads=1
    )
    assert part.image.shape == (4, 64, 32)
    assert part.provenance["settings"]["region"] == "z=2:6,y=0:64,x=0:32"


@pytest.mark.parametrize("given", [5, None, [0, 4], b"z=0:4"])
def test_a_region_that_is_neither_text_nor_mapping_is_refused(
    given: object, noisy: NDArray[np.uint16]
) -> None:
    stack = open_stack(noisy, axes="ZYX")
    with pytest.raises(InputError, match="cannot be read; write ranges"):
        parse_region(given, stack)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"z": slice(1, 5), "y": slice(8, None)}, "z=1:5,y=8:"),
        ({"z": 3, "x": slice(None, -16)}, "z=3,x=:-16"),
        ({"z": "1:5"}, "z=1:5"),
    ],
)
def test_a_mapping_is_kept_as_text(given: dict[str, Any], kept: str) -> None:
    settings = parse_settings(DenoiseSettings, region=given)
    assert settings.region == kept
    json.dumps(settings.model_dump(mode="json"))


def test_a_mapping_is_the_same_region_in_every_function(
    noisy: NDArray[np.uint16],
) -> None:
    region = {"z": slice(1, 5), "y": slice(8, 56)}
    asked = {"axes": "ZYX", "region": region}
    assert nb.estimate_noise(noisy, **asked) == nb.estimate_noise(
        noisy, axes="ZYX", region="z=1:5,y=8:56"
    )
    result = nb.denoise(noisy, **asked, **QUICK)
    assert result.image.shape == (4, 48, 64)
    assert result.provenance["settings"]["region"] == "z=1:5,y=8:56"


def test_steps_in_a_mapping_are_refused(noisy: NDArray[np.uint16]) -> None:
    with pytest.raises(InputError, match="no steps"):
        nb.estimate_noise(noisy, axes="ZYX", region={"z": slice(0, 6, 2)})


@pytest.mark.parametrize("known", [{}, {"gain": 2, "offset": 100, "read_noise": 1}])
@pytest.mark.parametrize("part", ["x=0:1", "y=3:7"])
def test_a_part_too_small_to_train_on_is_refused_in_one_way(
    part: str, known: dict[str, float], noisy: NDArray[np.uint16]
) -> None:
    with pytest.raises(InputError, match="trained on at least 5 a side; choose a lar"):
        nb.denoise(noisy, axes="ZYX", region=part, **known, **QUICK)
