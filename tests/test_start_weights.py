"""The start weights in the package: whole, small, and cut where that is exact."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load

import napari_blindspot as nb
from napari_blindspot.config import NetworkSettings
from napari_blindspot.config.students import WIDTHS, StudentSettings
from napari_blindspot.errors import InputError, ModelFileError
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.starts import shipped
from napari_blindspot.starts.adapt import load_start
from napari_blindspot.starts.shipped import (
    Shipped,
    read_index,
    read_weights,
    shipped_student_for,
    shipped_within,
    weights_folder,
)
from napari_blindspot.training.recipes import RECIPES
from networks import random_network
from test_blindness import inside_hole, seen_by

if TYPE_CHECKING:
    from napari_blindspot.networks.blindspot import Hole
    from napari_blindspot.progress import Progress
    from napari_blindspot.sample import Phantom

FOLDER = Path(str(files("napari_blindspot.starts"))) / "weights"
ENTRIES = read_index(FOLDER)
LARGEST = 2 * 2**20
REPOSITORY = Path(__file__).resolve().parents[1]


def fresh(one: Shipped, **changes: Any) -> BlindSpotNetwork | StudentNetwork:
    """Return a network of the shape that weights were made for, with changes."""
    settings = one.network.model_copy(update=changes)
    if isinstance(settings, NetworkSettings):
        return BlindSpotNetwork(settings)
    return StudentNetwork(settings)


@pytest.fixture(params=ENTRIES, ids=lambda one: one.name)
def entry(request: pytest.FixtureRequest) -> Shipped:
    one: Shipped = request.param
    return one


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped folder, which the package reads instead of its own."""
    folder = tmp_path / "weights"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(shipped, "weights_folder", lambda: folder)
    monkeypatch.setattr("napari_blindspot.training.filters._VOXELS", 30_000)
    return folder


def test_a_teacher_and_a_student_are_shipped() -> None:
    assert {type(one.network) for one in ENTRIES} == {NetworkSettings, StudentSettings}
    fast = RECIPES["cpu"]["fast"].network.model_copy(update={"units": "noise"})
    found = shipped_within(fast)
    assert found is not None
    assert found.name == "teacher-cpu"


def test_every_file_is_small_half_and_as_the_index_says(entry: Shipped) -> None:
    content = (FOLDER / f"{entry.name}.safetensors").read_bytes()
    assert len(content) <= LARGEST
    assert hashlib.sha256(content).hexdigest() == entry.sha256
    kinds = {tensor.dtype for tensor in load(content).values()}
    assert kinds == {torch.float16}
    assert {"steps", "plan", "exam", "date", "torch"} <= set(entry.facts)


def test_the_folder_holds_nothing_else() -> None:
    named = {f"{one.name}.safetensors" for one in ENTRIES}
    assert {path.name for path in FOLDER.iterdir()} == named | {"index.json", "CARD.md"}


def test_every_file_loads_into_its_network_and_leaves_the_stacks_part(
    entry: Shipped,
) -> None:
    network, weights = fresh(entry), read_weights(entry)
    buffers = {name: one.clone() for name, one in network.named_buffers()}
    load_start(network, weights, entry.network.context)
    assert set(weights) == {name for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, weights[name])
        assert torch.isfinite(parameter).all()
    for name, one in network.named_buffers():
        assert torch.equal(one, buffers[name])


@pytest.mark.parametrize("hole", [(1, 1, 1), (1, 3, 5)])
def test_shipped_teachers_are_exactly_blind(entry: Shipped, hole: Hole) -> None:
    network = fresh(entry)
    if isinstance(network, StudentNetwork):
        network = fresh(entry, context=0)  # sees the very voxel: a student has no hole
        load_start(network, read_weights(entry), entry.network.context)
        x = torch.rand(1, 1, 15, 13, requires_grad=True)
        (seen,) = torch.autograd.grad(network.eval()(x)[0, 7, 6], x)
        assert seen[0, 0, 7, 6] != 0
        return
    load_start(network, read_weights(entry), entry.network.context)
    assert network.eyes is not None
    network.eyes.fit(0.1, 0.3, 1e-6)
    shape = (2 * network.settings.context + 1, 15, 13)
    seen = seen_by(network.double().eval(), (7, 6), hole, shape)
    hidden = inside_hole(shape, (7, 6), hole)
    assert torch.all(seen[hidden] == 0)
    assert seen[~hidden].max() > 0


@pytest.mark.parametrize("half_planes", ["centre", "all"])
@pytest.mark.parametrize("fewer", [0, 1])
def test_fewer_planes_are_exactly_planes_of_nothing(
    half_planes: str, fewer: int
) -> None:
    shape = {"depth": 2, "half_planes": half_planes, "units": "noise"}
    whole = random_network(context=2, **shape)  # type: ignore[arg-type]
    cut = random_network(9, context=fewer, **shape)  # type: ignore[arg-type]
    load_start(cut, dict(whole.named_parameters()), 2)
    for network in (whole, cut):
        assert network.eyes is not None
        network.eyes.fit(0.1, 0.2, 1e-6)
    inner = whole.start.kernel[:, 2 - fewer : 3 + fewer].clone()
    whole.start.kernel.zero_()
    whole.start.kernel[:, 2 - fewer : 3 + fewer] = inner
    cut.start.kernel.copy_(inner)
    x = torch.rand(2, 5, 17, 22, dtype=torch.float64)
    x[:, : 2 - fewer] = x[:, 3 + fewer :] = 0
    hole = (1, 3, 1) if fewer else (5, 3, 1)  # no planes: the hole hides them all
    with torch.no_grad():
        expected = whole(x, hole)
        got = cut(x[:, 2 - fewer : 3 + fewer], (1, 3, 1))
    assert expected.mean.std() > 0.01
    # The filter's weights are shared out among fewer taps where the hole hides planes.
    torch.testing.assert_close(got.mean, expected.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got.variance, expected.variance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fewer", [0, 1])
def test_a_student_of_fewer_planes_answers_as_with_planes_of_nothing(
    fewer: int,
) -> None:
    shape = {"width": 4, "depth": 2, "units": "noise"}
    whole = StudentNetwork(StudentSettings(context=2, **shape)).double().eval()
    cut = StudentNetwork(StudentSettings(context=fewer, **shape)).double().eval()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.normal_(0, 0.3)
    load_start(cut, dict(whole.named_parameters()), 2)
    for network in (whole, cut):
        assert network.eyes is not None
        network.eyes.fit(0.1, 0.2, 1e-6)
    x = torch.rand(2, 5, 17, 22, dtype=torch.float64)
    x[:, : 2 - fewer] = x[:, 3 + fewer :] = 0
    # Students compute in single precision.
    whole, cut, x = whole.float(), cut.float(), x.float()
    with torch.no_grad():
        expected, got = whole(x), cut(x[:, 2 - fewer : 3 + fewer])
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"context": 2}, {"width": 5}, {"depth": 3}, {"half_planes": "centre"}],
    ids=str,
)
def test_weights_of_another_shape_are_refused_in_words(changes: dict[str, Any]) -> None:
    made = random_network(context=1, half_planes="all", units="noise")
    shape: dict[str, Any] = {"context": 1, "half_planes": "all", "units": "noise"}
    other = random_network(3, **shape | changes)
    before = {name: one.clone() for name, one in other.named_parameters()}
    with pytest.raises(InputError, match="the start weights do not fit the network"):
        load_start(other, dict(made.named_parameters()), 1)
    for name, parameter in other.named_parameters():
        assert torch.equal(parameter, before[name])


def found_for(settings: Any) -> Shipped | None:
    teacher = isinstance(settings, NetworkSettings)
    return (shipped_within if teacher else shipped_student_for)(settings)


def test_weights_are_found_by_shape_and_for_no_more_planes(entry: Shipped) -> None:
    settings = entry.network
    assert found_for(settings) == entry
    fewer = settings.model_copy(update={"context": 0, "starts": 3})
    assert found_for(fewer) == entry
    for changes in ({"context": 3}, {"width": 7}, {"depth": 2}, {"units": "scale"}):
        assert found_for(settings.model_copy(update=changes)) is None


def test_the_largest_teacher_is_found_that_a_network_can_hold(copied: Path) -> None:
    path = copied / "index.json"
    listed = json.loads(path.read_text())
    teacher = next(one for one in listed if one["name"] == "teacher-cpu")
    sizes: dict[str, Any] = {"large": {"width": 12}, "deep": {"width": 20, "depth": 5}}
    more = [
        {**teacher, "name": name, "network": {**teacher["network"], **size}}
        for name, size in sizes.items()
    ]
    path.write_text(json.dumps([*more, *listed]))

    def name(**size: Any) -> str | None:
        shape: dict[str, Any] = {"neighbour_width": 16, "units": "noise", **size}
        found = shipped_within(NetworkSettings(**shape))
        return found and found.name

    assert name(width=32, depth=4) == "large"
    assert name(width=32, depth=5, half_planes="centre") == "deep"
    assert name(width=11, depth=5) == "teacher-cpu"
    assert name(width=32, depth=5, neighbour_width=15) is None
    assert name(width=32, depth=5, neighbour_width=15, context=0) == "deep"


def test_every_size_of_student_has_a_name_in_pretraining() -> None:
    from napari_blindspot.pretraining.shipping import KINDS

    assert {f"student-{size}" for size in WIDTHS} <= set(KINDS)
    assert {one.name for one in ENTRIES} <= set(KINDS)


def train_told(phantom: Phantom, **options: Any) -> tuple[nb.Model, list[str]]:
    told: list[str] = []

    def hear(event: Progress) -> None:
        if event.message:
            told.append(event.message)

    model = nb.train(
        phantom.noisy[:5, :40, :40],
        axes="ZYX",
        device="cpu",
        threads=1,
        on_progress=hear,
        **options,
    )
    return model, told


def _alter(folder: Path) -> None:
    path = folder / "teacher-cpu.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _lose(folder: Path) -> None:
    (folder / "teacher-cpu.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    (folder / "index.json").write_text('[{"name": "teach')


def _misname(folder: Path) -> None:
    (folder / "index.json").write_text('[{"title": "teacher"}]')


def _of_no_list(folder: Path) -> None:
    (folder / "index.json").write_text("7")


def _without_planes(folder: Path) -> None:
    path = folder / "index.json"
    listed = json.loads(path.read_text())
    for one in listed:
        del one["network"]["context"]
    path.write_text(json.dumps(listed))


def _of_no_size(folder: Path) -> None:
    path = folder / "index.json"
    listed = json.loads(path.read_text())
    for one in listed:
        one["network"]["width"] = None
    path.write_text(json.dumps(listed))


def _of_an_unknown_kind(folder: Path) -> None:
    path = folder / "index.json"
    listed = json.loads(path.read_text())
    for one in listed:
        one["network"]["colour"] = "green"
    path.write_text(json.dumps(listed))


def _of_no_network(folder: Path) -> None:
    entry = {"name": "a", "sha256": "b", "network": "c", "facts": {}}
    (folder / "index.json").write_text(json.dumps([entry]))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_alter, "teacher-cpu are not as they were shipped"),
        (_lose, "teacher-cpu cannot be read"),
        (_cut_short, "the list of the start weights is damaged"),
        (_misname, "the list of the start weights is damaged"),
        (_of_no_list, "the list of the start weights is damaged"),
        (_without_planes, "the list of the start weights is damaged"),
        (_of_no_size, "the list of the start weights is damaged"),
        (_of_an_unknown_kind, "the list of the start weights is damaged"),
        (_of_no_network, "the list of the start weights is damaged"),
    ],
)
def test_damaged_weights_mean_one_sentence_and_a_cold_start(
    copied: Path, damage: Any, sentence: str, phantom: Phantom
) -> None:
    damage(copied)
    model, told = train_told(phantom, steps=1)
    about = [one for one in told if "start" in one]
    assert len(about) == 1
    assert about[0].startswith("There is no warm start: ")
    assert sentence in about[0]
    assert "install napari-blindspot anew" in about[0]
    assert model.provenance["training"]["steps"] == 1
    assert model.provenance["start"]["name"] == "cold"
    assert model.settings.units == "scale"


def test_a_package_without_weights_starts_cold(copied: Path, phantom: Phantom) -> None:
    shutil.rmtree(copied)
    model, told = train_told(phantom, steps=1)
    (about,) = [one for one in told if "start" in one]
    assert "the list of the start weights is missing; install napari-bl" in about
    assert model.provenance["start"]["name"] == "cold"


def test_altered_weights_are_not_read(copied: Path) -> None:
    _alter(copied)
    one = next(one for one in ENTRIES if one.name == "teacher-cpu")
    with pytest.raises(ModelFileError, match="checksum differs"):
        read_weights(one)
    assert set(read_weights(one, weights_folder())) == set(read_weights(one, FOLDER))


def test_the_wheel_brings_the_weights(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(REPOSITORY))
    inside = {
        one.distribution_path: Path(one.path)
        for one in builder.recurse_included_files()
    }
    folder = "napari_blindspot/starts/weights"
    for path in FOLDER.iterdir():
        assert inside[f"{folder}/{path.name}"].read_bytes() == path.read_bytes()


def test_the_card_says_what_the_index_does_not() -> None:
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8").lower()
    for word in ("bsd-3-clause", "scripts/pretrain.py name", "generated", "limits"):
        assert word in card
