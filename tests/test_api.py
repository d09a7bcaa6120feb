from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile

import napari_blindspot as nb
from napari_blindspot.api import describe
from napari_blindspot.config import (
    CompareSettings,
    DenoiseSettings,
    DiagnoseSettings,
    DistillSettings,
    OpenSettings,
    PredictSettings,
    Settings,
    TrainSettings,
)
from napari_blindspot.errors import InputError, OutputExistsError
from napari_blindspot.sample import Phantom, nuclei_phantom
from napari_blindspot.stack import VoxelSize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_blindspot.progress import Progress


def psnr(image: np.ndarray, phantom: Phantom) -> float:
    return float(
        10 * np.log10(phantom.scale**2 / np.mean((image - phantom.truth) ** 2))
    )


def test_denoise_gains_ten_decibels_on_a_known_stack() -> None:
    phantom = nuclei_phantom((10, 96, 96), seed=3)
    events: list[Progress] = []
    result = nb.denoise(
        phantom.noisy, axes="ZYX", steps=25, uncertainty=True, on_progress=events.append
    )
    assert psnr(result.image, phantom) > psnr(phantom.noisy, phantom) + 10
    assert result.image.dtype == np.float32
    assert result.uncertainty.shape == result.image.shape
    error = np.abs(result.image - phantom.truth)
    assert 0.5 < np.sqrt((error**2).mean() / (result.uncertainty**2).mean()) < 1.5
    assert [e.stage for e in events] == sorted(
        (e.stage for e in events),
        key=["open", "noise", "train", "predict", "pyramid"].index,
    )
    metrics = result.metrics
    assert metrics["expected_psnr"] == pytest.approx(psnr(result.image, phantom), abs=4)
    assert metrics["seconds_train"] > 0
    assert metrics["voxels_per_second"] > 0
    assert metrics["peak_memory_bytes"] > 50e6
    (noise,) = result.noise
    assert noise.gain == pytest.approx(phantom.gain, rel=0.25)


def test_estimate_noise_takes_whatever_open_stack_takes(phantom: Phantom) -> None:
    from_array = nb.estimate_noise(phantom.noisy, axes="ZYX")
    from_dask = nb.estimate_noise(da.from_array(phantom.noisy), axes="ZYX")
    from_stack = nb.estimate_noise(nb.open_stack(phantom.noisy, axes="ZYX"))
    assert from_array == from_dask == from_stack


def test_the_source_is_untouched(phantom: Phantom) -> None:
    values = phantom.noisy.copy()
    values.flags.writeable = False
    nb.denoise(values, axes="ZYX", steps=1)
    assert np.array_equal(values, phantom.noisy)


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.ome.tif"])
def test_a_file_becomes_a_file_with_its_metadata(
    phantom: Phantom, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "in.ome.tif"
    sizes = {
        f"PhysicalSize{axis}": size
        for axis, size in zip("ZYX", (1.0, 0.3, 0.3), strict=True)
    }
    tifffile.imwrite(source, phantom.noisy, ome=True, metadata={"axes": "ZYX", **sizes})
    before = source.read_bytes()
    result = nb.denoise(
        source, tmp_path / name, steps=1, uncertainty=True, dtype="same"
    )
    back = nb.open_stack(tmp_path / name)
    assert (back.axes, back.shape, back.dtype) == (
        "ZYX",
        phantom.noisy.shape,
        np.uint16,
    )
    assert back.voxel_size == pytest.approx(VoxelSize(1.0, 0.3, 0.3))
    np.testing.assert_array_equal(back.read({}), np.asarray(result.image))
    std = nb.open_stack(tmp_path / "out.uncertainty.ome.zarr")
    assert std.dtype == np.float32
    assert std.voxel_size == pytest.approx(VoxelSize(1.0, 0.3, 0.3))
    assert source.read_bytes() == before
    facts = describe(tmp_path / name)
    assert facts["kind"] == "result"
    assert facts["provenance"]["settings"]["steps"] == 1
    assert facts["provenance"]["model"]["training"]["steps"] == 1


def test_an_output_is_refused_before_any_work(phantom: Phantom, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    nb.denoise(phantom.noisy, out, axes="ZYX", steps=1)
    events: list[Progress] = []
    with pytest.raises(OutputExistsError, match="overwrite"):
        nb.denoise(phantom.noisy, out, axes="ZYX", steps=1, on_progress=events.append)
    assert events == []
    nb.denoise(phantom.noisy, out, axes="ZYX", steps=1, overwrite=True)


def test_an_existing_uncertainty_is_not_overwritten_either(
    phantom: Phantom, tmp_path: Path
) -> None:
    (tmp_path / "out.uncertainty.ome.zarr").mkdir()
    with pytest.raises(OutputExistsError, match="uncertainty"):
        nb.denoise(
            phantom.noisy, tmp_path / "out.tif", axes="ZYX", steps=1, uncertainty=True
        )


def test_a_trained_model_is_used_as_it_is(phantom: Phantom, tmp_path: Path) -> None:
    model = nb.train(phantom.noisy, axes="ZYX", steps=2)
    path = nb.save_model(model, tmp_path / "m.safetensors")
    by_file = nb.denoise(phantom.noisy, axes="ZYX", model=path)
    by_model = nb.predict(model, phantom.noisy, axes="ZYX")
    by_name = nb.predict(path, phantom.noisy, axes="ZYX")
    np.testing.assert_array_equal(by_file.image, by_model.image)
    np.testing.assert_array_equal(by_file.image, by_name.image)
    assert by_file.metrics["seconds_train"] == 0


def test_same_seed_gives_the_same_image(phantom: Phantom) -> None:
    one, two, other = (
        nb.denoise(phantom.noisy, axes="ZYX", steps=3, seed=seed).image
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_several_stacks_train_one_model(phantom: Phantom) -> None:
    stacks = [nb.open_stack(phantom.noisy[:4], axes="ZYX") for _ in range(2)]
    model = nb.train(stacks, steps=1)
    assert len(model.provenance["sources"]) == 2


def test_a_known_camera_is_used_instead_of_an_estimate(phantom: Phantom) -> None:
    camera = {"gain": 2.2, "offset": 100.0, "read_noise": 1.6}
    model = nb.train(phantom.noisy, axes="ZYX", steps=1, noise="camera", **camera)
    (noise,) = model.noise
    assert {name: noise.as_dict()[name] for name in camera} == camera
    assert noise.as_dict()["gain_interval"] is None


def test_few_planes_use_fewer_neighbours_and_say_so(phantom: Phantom) -> None:
    events: list[Progress] = []
    model = nb.train(phantom.noisy[:3], axes="ZYX", steps=1, on_progress=events.append)
    assert model.settings.context == 1
    assert any("3 planes along Z: 1 neighbour plane" in e.message for e in events)


def test_region_and_channel_choose_what_is_denoised(rng: np.random.Generator) -> None:
    five = rng.poisson(20, (2, 2, 3, 32, 32)).astype(np.uint16)
    result = nb.denoise(five, axes="TCZYX", steps=1, channel=1, region="t=0:1,x=4:28")
    assert result.image.shape == (1, 1, 3, 32, 24)
    assert len(result.noise) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(np.zeros((3, 32, 32), np.uint16), "every value is 0", id="zero"),
        pytest.param(np.full((3, 32, 32), 7.5), "every value is 7.5", id="constant"),
        pytest.param(np.full((3, 32, 32), np.nan), "no finite value", id="nan"),
        pytest.param(
            np.where(np.arange(3072).reshape(3, 32, 32) % 3, 255, 9).astype(np.uint8),
            "is saturated: 67%",
            id="saturated",
        ),
        pytest.param(np.zeros((3, 32, 32), bool), "bool", id="boolean"),
        pytest.param(np.zeros((3, 32, 32), complex), "complex", id="complex"),
        pytest.param(np.zeros((0, 32, 32)), "0", id="empty"),
        pytest.param(np.ones((3, 8, 32)), "16", id="small"),
    ],
)  # fmt: skip
def test_a_stack_that_cannot_be_denoised_is_one_sentence(
    values: np.ndarray, words: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        nb.denoise(values, axes="ZYX", steps=1)
    assert "\n" not in str(error.value)


def test_an_unknown_method_or_device_is_refused(phantom: Phantom) -> None:
    with pytest.raises(InputError, match=r"method='magic'.*bayesian"):
        nb.denoise(phantom.noisy, axes="ZYX", steps=1, method="magic")
    with pytest.raises(InputError, match="device='tpu'"):
        nb.denoise(phantom.noisy, axes="ZYX", steps=1, device="tpu")


def test_every_setting_is_named_in_the_help() -> None:
    text = nb.denoise.__doc__ or ""
    missing = [
        name
        for name in DenoiseSettings.model_fields
        if f"``{name}``" not in text and f"`{name}`" not in text
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (nb.train, TrainSettings),
        (nb.predict, PredictSettings),
        (nb.distill, DistillSettings),
        (nb.compare, CompareSettings),
        (nb.diagnose, DiagnoseSettings),
        (nb.estimate_noise, OpenSettings),
    ],
)
def test_every_setting_of_a_function_is_named_in_its_docstring(
    function: Callable[..., Any], settings: type[Settings]
) -> None:
    told = f"{function.__doc__} {nb.denoise.__doc__}"
    if function is not nb.train:  # which refers to those of `denoise`
        told = str(function.__doc__)
    names = settings.model_fields
    assert [name for name in names if f"``{name}``" not in told] == []


def test_a_list_of_files_is_one_stack_and_a_list_of_stacks_several(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path in paths:
        values = rng.poisson(20, (3, 32, 32)).astype(np.uint16)
        tifffile.imwrite(path, values, metadata={"axes": "ZYX"}, imagej=True)
    one = nb.train(paths, steps=0).provenance["sources"]
    assert [source["axes"] for source in one] == ["TZYX"]
    several = nb.train(list(map(nb.open_stack, paths)), steps=0).provenance["sources"]
    assert [source["axes"] for source in several] == ["ZYX", "ZYX"]


@pytest.mark.parametrize("side", [16, 17, 23])
def test_the_smallest_and_odd_planes_work(side: int, rng: np.random.Generator) -> None:
    values = rng.poisson(20, (3, side, side + 1)).astype(np.uint16)
    result = nb.denoise(values, axes="ZYX", steps=2)
    assert np.isfinite(result.image).all()


def test_options_of_training_are_refused_beside_a_model(
    phantom: Phantom, tmp_path: Path
) -> None:
    path = nb.save_model(nb.train(phantom.noisy, axes="ZYX", steps=1), tmp_path / "m")
    with pytest.raises(InputError, match="steps, train_hole cannot be given"):
        nb.denoise(phantom.noisy, axes="ZYX", model=path, steps=3, train_hole=(1, 3, 3))
