"""Pretraining: repeatable, resumable, from one command, and better than a filter."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_blindspot.config import NetworkSettings
from napari_blindspot.config.students import StudentSettings
from napari_blindspot.errors import InputError
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.networks.student import StudentNetwork
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.pretraining import episodes
from napari_blindspot.pretraining.episodes import Crops, Episode, Episodes, make_episode
from napari_blindspot.pretraining.lessons import loss_of, relative_error, take_filter
from napari_blindspot.pretraining.shipping import KINDS, make_network, write_start
from napari_blindspot.pretraining.training import (
    FIRST_OF_EXAM,
    Exam,
    Plan,
    Pretraining,
)
from napari_blindspot.starts.adapt import load_start
from napari_blindspot.starts.shipped import (
    Shipped,
    read_index,
    read_weights,
    weights_folder,
)

if TYPE_CHECKING:
    from torch import nn

CPU = torch.device("cpu")
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pretrain.py"
TINY = NetworkSettings(
    width=4, depth=1, context=2, neighbour_width=4, half_planes="all", units="noise"
)
ENTRIES = read_index(weights_folder())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes that are made in no time."""
    monkeypatch.setattr(episodes, "SHAPE", (4, 40, 40))
    monkeypatch.setattr(episodes, "_START_CROPS", 6)


def tiny(kind: str = "teacher") -> nn.Module:
    torch.manual_seed(0)
    if kind == "student":
        return StudentNetwork(StudentSettings(width=4, depth=1, units="noise"))
    network = BlindSpotNetwork(TINY)
    network.wake()
    return network


class EasyExam(Exam):
    """An exam that every network passes with the same figure."""

    def __init__(self, score: float) -> None:
        super().__init__(0, CPU)
        self.score = score

    def losses(self, network: nn.Module) -> list[float]:
        return [self.score]


def alike(one: Episode, other: Episode) -> bool:
    same = np.array_equal(one.recording.noisy, other.recording.noisy)
    starts = zip(one.start.values(), other.start.values(), strict=True)
    return same and all(torch.equal(a, b) for a, b in starts)


@pytest.mark.usefixtures("small")
def test_seed_and_number_give_one_episode() -> None:
    one = make_episode(3, 5)
    assert alike(one, make_episode(3, 5))
    assert not alike(one, make_episode(3, 6))
    assert not alike(one, make_episode(4, 5))
    crops = [one.draw(np.random.default_rng(1), 2, 16) for _ in range(2)]
    assert torch.equal(crops[0].planes, crops[1].planes)
    assert torch.equal(crops[0].clean, crops[1].clean)


def test_workers_make_the_same_episodes_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(episodes, "make_episode", lambda _, number: number)
    info: list[Any] = [None]
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: info[0])
    alone = iter(Episodes(0, first=7))
    expected = [next(alone) for _ in range(6)]
    made = []
    for worker in range(3):
        info[0] = SimpleNamespace(id=worker, num_workers=3)
        own = iter(Episodes(0, first=7))
        made.append([next(own), next(own)])
    assert [made[n % 3][n // 3] for n in range(6)] == expected == list(range(7, 13))


@pytest.mark.usefixtures("small")
def test_crops_show_the_planes_that_the_recording_allows() -> None:
    seen = {make_episode(0, number).recording.context for number in range(24)}
    assert seen == {0, 1, 2}
    for number in range(24):
        episode = make_episode(0, number)
        context = episode.recording.context
        crops = episode.draw(np.random.default_rng(0), 3, 16)
        assert crops.planes.shape == (3, 5, 16, 16)
        assert crops.clean.shape == (3, 16, 16)
        shown = crops.planes.abs().amax((0, 2, 3)) > 0
        expected = [abs(k - 2) <= context for k in range(5)]
        assert shown.tolist() == expected
        # What is not there must not be looked at either.
        if context == 0:
            assert episode.hole[0] == 5
        assert set(episode.start["start.kernel"].shape[1:2]) == {5}
        hidden = episode.start["start.kernel"][:, : 2 - context]
        assert not hidden.any()


@pytest.mark.usefixtures("small")
def test_the_network_is_given_the_start_of_the_recording() -> None:
    episode = make_episode(0, 1)
    network = tiny()
    take_filter(network, episode)
    own = dict(network.named_buffers())
    for name, tensor in episode.start.items():
        assert torch.equal(own[name], tensor)
    assert not torch.equal(
        own["start.kernel"], dict(tiny().named_buffers())["start.kernel"]
    )


@pytest.mark.usefixtures("small")
def test_a_start_can_be_fitted_to_a_network_that_sees_other_units() -> None:
    episode = make_episode(0, 1)
    rng = np.random.default_rng(0)
    grey = episode.fit(rng, "scale")
    assert set(episode.start) - set(grey) == {"eyes.slope", "eyes.level"}
    level = torch.full((1, 1, 1), 0.25)
    flat = episode.fit(rng, noise=Affine(torch.zeros(1, 1, 1), level, level))
    assert float(flat["eyes.slope"]) == 0
    assert float(flat["eyes.level"]) == 0.25
    assert float(episode.start["eyes.slope"]) > 0


def test_the_error_is_in_units_of_the_noise() -> None:
    clean, noise = torch.zeros(2, 8, 8), torch.full((2, 8, 8), 0.04)
    off = torch.full((2, 8, 8), 0.2)
    assert float(relative_error(off, clean, noise)) == pytest.approx(0, abs=2e-3)
    better = relative_error(off / 10, clean, noise)
    assert float(better) == pytest.approx(np.log(0.011), abs=1e-3)


@pytest.mark.usefixtures("small")
def test_a_teacher_is_told_the_clean_value_and_stays_blind() -> None:
    episode = make_episode(0, 2)
    crops = episode.draw(np.random.default_rng(0), 2, 16)
    network = tiny()
    before = float(loss_of(network, episode, crops).detach())
    assert np.isfinite(before)
    other = Crops(crops.planes, crops.clean + 1)
    assert float(loss_of(network, episode, other).detach()) > before
    changed = crops.planes.clone()
    changed[:, 2, 8, 8] += 100
    take_filter(network, episode)
    means = [
        network(planes, episode.hole).mean[:, 8, 8]
        for planes in (crops.planes, changed)
    ]
    assert torch.equal(*means)


def trained(steps: int, kind: str, training: Pretraining | None = None) -> Pretraining:
    plan = Plan(7, episodes=2, crops=1, pool=3, every=2, warmup=2, seed=5)
    training = training or Pretraining(tiny(kind), plan, CPU)
    for step, loss in training.run():
        assert np.isfinite(loss)
        if step == steps:
            break
    assert training.step == steps
    return training


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["teacher", "student"])
@pytest.mark.parametrize("stop", [3, 4])
def test_going_on_equals_never_having_stopped(
    kind: str, stop: int, tmp_path: Path
) -> None:
    whole = trained(7, kind)
    first = trained(stop, kind)
    first.save(tmp_path / "state")
    fresh = Pretraining(tiny(kind), first.plan, CPU)
    torch.manual_seed(99)
    fresh.resume(tmp_path / "state")
    assert fresh.step == stop
    rest = trained(7, kind, fresh)
    for own, other in ((whole.network, rest.network), (whole.average, rest.average)):
        kept = other.state_dict()
        for name, tensor in own.state_dict().items():
            assert torch.equal(tensor, kept[name]), name
    changed = dict(first.network.named_parameters())
    assert any(
        not torch.equal(one, changed[name])
        for name, one in whole.network.named_parameters()
    )


def test_the_rate_rises_and_falls_to_nothing() -> None:
    plan = Plan(1000, warmup=100, learning_rate=2e-3)
    rates = [plan.rate(step) for step in range(1000)]
    assert rates[0] < 1e-4
    assert 80 <= int(np.argmax(rates)) <= 120
    assert 1.9e-3 < max(rates) <= 2e-3
    assert rates[-1] < 1e-7


@pytest.mark.usefixtures("small")
def test_files_are_read_as_shipped_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, shape in (
        ("b", TINY),
        ("a", StudentSettings(width=4, depth=1, units="noise")),
    ):
        monkeypatch.setitem(KINDS, name, shape)
        plan = Plan(1, pool=1)
        training = Pretraining(make_network(name), plan, CPU)
        write_start(tmp_path, name, training, EasyExam(-1.5))
    with torch.no_grad():  # the average is what passed the exam, and what is written
        for parameter in training.average.parameters():
            parameter.add_(0.5)
    write_start(tmp_path, "b", training, EasyExam(-2.5))  # replaces its entry
    listed = read_index(tmp_path)
    assert [one.name for one in listed] == ["a", "b"]
    assert listed[1].facts["exam"] == -2.5
    weights = read_weights(listed[1], tmp_path)
    average = dict(training.average.named_parameters())
    assert set(weights) == set(average)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, average[name], rtol=1e-3, atol=1e-3)


def test_one_command_makes_a_file_and_goes_on_where_it_stopped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small: None,
) -> None:
    spec = importlib.util.spec_from_file_location("_pretrain_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    words = [
        "pretrain.py",
        "teacher-cpu",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    words += ["--pool", "2", "--episodes", "1", "--crops", "1", "--exam", "1"]
    words += ["--steps", "2"]
    for more, steps in ((["--minutes", "0"], 0), ([], 2)):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        script.main()
        (entry,) = read_index(tmp_path)
        assert entry.facts["steps"] == steps
        assert entry.facts["exam_recordings"] == 1
    assert "step 0\n" in capsys.readouterr().out  # where both runs began
    monkeypatch.setattr(sys, "argv", [*words, "--seed", "7"])
    with pytest.raises(SystemExit, match=r"another plan \(seed=0, now 7\), whose"):
        script.main()
    network = make_network("teacher-cpu")
    load_start(network, read_weights(entry, tmp_path), 2)
    assert (
        json.loads((tmp_path / "index.json").read_text())[0]["sha256"] == entry.sha256
    )


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_pretraining_begins_with_weights_that_were_made_before(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Pretraining(tiny(kind), Plan(1, pool=1), CPU)
    monkeypatch.setitem(KINDS, "first", first.network.settings)
    write_start(tmp_path, "first", first, EasyExam(-1.5))
    path = tmp_path / "first.safetensors"
    larger = first.network.settings.model_copy(
        update={"width": 6, "depth": 2} if kind == "teacher" else {}
    )
    monkeypatch.setitem(KINDS, "larger", larger)
    second = Pretraining(make_network("larger"), Plan(1, pool=1), CPU)
    second.begin(path)
    entry = read_index(tmp_path)[0]
    assert second.begun == {"name": "first", "sha256": entry.sha256}
    second.save(tmp_path / "state")
    again = Pretraining(make_network("larger"), Plan(1, pool=1), CPU)
    again.resume(tmp_path / "state")
    assert again.begun == second.begun
    part = Exam(1, CPU).parts[0]
    with torch.no_grad():
        scores = [float(loss_of(one.average, *part)) for one in (first, second)]
    assert scores[1] == pytest.approx(scores[0], abs=0.01)  # the file is half precision
    another = tiny("student" if kind == "teacher" else "teacher")
    with pytest.raises(InputError, match=r"that this one .* cannot hold"):
        Pretraining(another, Plan(1, pool=1), CPU).begin(path)
    with pytest.raises(InputError, match="is not in the list of weights beside it"):
        second.begin(path.rename(tmp_path / "second.safetensors"))


@pytest.fixture(scope="module")
def exam() -> Exam:
    return Exam(FIRST_OF_EXAM, CPU)


def of_filter(one: Shipped) -> nn.Module:
    """Return the network without a word beside what was measured on the recording."""
    network = make_network(one.name)
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.zeros_(network.last.bias)
    return network


def of_start(one: Shipped) -> nn.Module:
    network = make_network(one.name)
    load_start(network, read_weights(one), one.network.context)
    return network.eval()


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_a_start_beats_the_filter_on_generated_recordings(
    one: Shipped, exam: Exam
) -> None:
    start, alone = of_start(one), of_filter(one)
    assert exam(start) < exam(alone) - 0.1
    assert exam(start) == pytest.approx(one.facts["exam_of_first"], abs=0.01)
    with torch.no_grad():
        for part in exam.parts:
            assert float(loss_of(start, *part)) < float(loss_of(alone, *part))


@pytest.mark.slow
@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_a_start_passes_its_exam_with_the_stated_figure(one: Shipped) -> None:
    exam = Exam(one.facts["exam_recordings"], CPU)
    assert exam(of_start(one)) == pytest.approx(one.facts["exam"], abs=0.03)
