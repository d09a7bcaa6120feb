from __future__ import annotations

import json
import pickle
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import save_file

import napari_blindspot as nb
from napari_blindspot.errors import InputError, ModelFileError, OutputExistsError
from napari_blindspot.model import Model
from napari_blindspot.model_file import FORMAT, read_header
from napari_blindspot.noise.models import PoissonGaussian
from napari_blindspot.normalize import Normalization
from networks import random_network

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def model() -> Model:
    return Model(
        random_network(2, dtype=torch.float32, hole=(1, 1, 3)),
        (Normalization(1.0, 2.0), Normalization(3.0, 4.0)),
        (PoissonGaussian(1.0, 2.0, floor=0.5), PoissonGaussian.from_camera(2, 100, 1)),
        "t",
        provenance={"seed": 3, "training": {"steps": 12}},
    )


def test_a_model_survives_the_file(model: Model, tmp_path: Path) -> None:
    path = nb.save_model(model, tmp_path / "teacher")
    assert path.name == "teacher.safetensors"
    back = nb.load_model(path)
    assert (back.scales, back.noise) == (model.scales, model.noise)
    assert (back.context_axis, back.method) == ("t", "bayesian")
    assert back.provenance == model.provenance
    assert back.settings == model.settings
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(model.network(x).mean, back.network(x).mean)


def test_an_existing_file_is_kept_unless_asked(model: Model, tmp_path: Path) -> None:
    path = nb.save_model(model, tmp_path / "a.safetensors")
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        nb.save_model(model, path)
    assert path.read_bytes() == before
    nb.save_model(model, path, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appeared_meanwhile_is_kept(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = tmp_path / "a.safetensors", safetensors.torch.save

    def save(*args: Any) -> bytes:
        path.write_bytes(b"precious")
        return original(*args)

    monkeypatch.setattr(safetensors.torch, "save", save)
    with pytest.raises(OutputExistsError, match=r"^model file .* exists already"):
        nb.save_model(model, path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_suffix_or_folder_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"end in \.safetensors"):
        nb.save_model(model, tmp_path / "model.pt")
    with pytest.raises(InputError, match="does not exist"):
        nb.save_model(model, tmp_path / "nowhere" / "model.safetensors")


@pytest.mark.parametrize(
    "use",
    [
        lambda given: nb.save_model(given, "y.safetensors"),
        lambda given: nb.predict(given, np.zeros((16, 16), np.uint16)),
        lambda given: nb.distill(given, np.zeros((16, 16), np.uint16)),
        lambda given: nb.preview(np.zeros((16, 16), np.uint16), given),
    ],
    ids=["save", "predict", "distill", "preview"],
)
def test_what_is_no_model_is_refused_in_a_sentence(use: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError, match="model=5 is of type int, which is no model"):
        use(5)


def test_model_files_are_given_by_paths(model: Model) -> None:
    with pytest.raises(InputError, match="a path is needed"):
        nb.load_model(5)
    with pytest.raises(InputError, match="a path is needed"):
        nb.save_model(model, 5)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no model file"):
        nb.load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 200, -10])
def test_a_truncated_file_is_one_sentence(
    model: Model, tmp_path: Path, kept: int
) -> None:
    path = nb.save_model(model, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match="truncated or no safetensors") as error:
        nb.load_model(path)
    assert "\n" not in str(error.value)


def test_a_file_from_the_future_is_one_sentence(model: Model, tmp_path: Path) -> None:
    path = nb.save_model(model, tmp_path / "a.safetensors")
    facts = {**read_header(path), "format": FORMAT + 1}
    save_file(model.network.state_dict(), path, {"napari_blindspot": json.dumps(facts)})
    with pytest.raises(ModelFileError, match=r"newer version .* update"):
        nb.load_model(path)


def test_other_safetensors_files_are_not_models(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="not a napari-blindspot model"):
        nb.load_model(path)


def test_weights_that_do_not_fit_the_header_are_refused(
    model: Model, tmp_path: Path
) -> None:
    path = nb.save_model(model, tmp_path / "a.safetensors")
    header = {"napari_blindspot": json.dumps(read_header(path))}
    save_file({"x": torch.zeros(3)}, path, header)
    with pytest.raises(ModelFileError, match="do not fit its own description"):
        nb.load_model(path)


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(3)}, path, {"napari_blindspot": "{"})
    with pytest.raises(ModelFileError, match=r"header .* is damaged"):
        nb.load_model(path)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "sprung"),))

    for name in ("a.safetensors", "b.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ModelFileError):
            nb.load_model(tmp_path / name)
    torch.save({"x": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(ModelFileError):
        nb.load_model(tmp_path / "c.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_the_file_holds_no_folder_of_this_machine(tmp_path: Path) -> None:
    import tifffile

    source = tmp_path / "private" / "stack.tif"
    source.parent.mkdir()
    values = np.random.default_rng(0).poisson(9, (4, 32, 32)).astype(np.uint16)
    tifffile.imwrite(source, values, metadata={"axes": "ZYX"}, imagej=True)
    trained = nb.train(source, steps=1)
    path = nb.save_model(trained, tmp_path / "a.safetensors")
    assert b"stack.tif" in path.read_bytes()
    assert b"private" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) & 0o111 == 0
