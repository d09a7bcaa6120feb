"""A training that was stopped goes on to the very weights it would have had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from kept import Follower, Memory, assert_same, recording
from models import random_teacher
from napari_blindspot.config import DistillSettings, TrainSettings
from napari_blindspot.errors import CheckpointError, RunError
from napari_blindspot.io import open_stack
from napari_blindspot.measure.camera_maps import read_camera
from napari_blindspot.progress import CancelToken, Job, run
from napari_blindspot.training import distilling, fitting, keeping, warm, widening
from napari_blindspot.training.checkpoint import pack, unpack
from napari_blindspot.training.distilling import distill
from napari_blindspot.training.holes import Holes
from napari_blindspot.training.keeping import Keeping
from napari_blindspot.training.learning import learn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from napari_blindspot.model import Model
    from napari_blindspot.training.keeping import Keeper

SMALLEST = (1, 1, 1)
LEARN = {"noise": "gaussian", "unknown": "learn"}
KINDS: dict[str, tuple[int, dict[str, Any]]] = {  # channels, settings
    "warm": (1, {}),
    "cold": (1, {"start": "cold"}),
    "tunable": (1, {"method": "atbsn"}),
    "masked": (1, {"method": "blind2grad"}),
    "learned noise": (1, LEARN),
    "joint": (2, {"channels": "joint"}),
    "each": (2, {"start": "cold"}),
    "some planes withheld": (1, {"hole": (1, 1, 1), "train_hole": (3, 1, 1)}),
}


@pytest.fixture(scope="module", autouse=True)
def short_start() -> Iterator[None]:
    """Fit the blind filters to few voxels, which takes most of a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_blindspot.training.filters._VOXELS", 10**5)
        yield


def learning_job(
    values: np.ndarray, keep: Keeper | None, cancel: CancelToken, **changes: Any
) -> Job[Model]:
    settings = TrainSettings(**{"steps": 8, "threads": 1, **changes})
    stack = open_stack(values[0] if len(values) == 1 else values)
    return learn([stack], settings, read_camera(settings), cancel, keep=keep)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_was_stopped_twice_ends_as_if_it_never_was(kind: str) -> None:
    channels, changes = KINDS[kind]
    values = recording(channels)

    def job(keep: Keeper | None) -> Any:
        return lambda token: learning_job(values, keep, token, **changes)

    whole, kept = Follower().run(job(None)), Memory()
    assert Follower(4).run(job(kept)) is None
    second = Follower(6, by_token=False)
    assert second.run(job(kept)) is None
    assert second.steps == [5, 6]
    assert any("goes on after step 4" in one for one in second.told)
    last = Follower()
    assert_same(last.run(job(kept)), whole)
    assert last.steps == [7, 8]
    done = Follower()
    assert_same(done.run(job(kept)), whole)
    assert done.steps == []


def test_what_was_seen_on_the_way_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The diagnosis of the stack finds nothing, so that the network must.
    found = Holes(SMALLEST, SMALLEST, "The noise is white: blind spot 1 1 1 (z y x)")
    monkeypatch.setattr(fitting, "choose_holes", lambda *_: found)
    auto = {"hole": "auto", "start": "cold", "steps": 20}
    values, kept, look = recording(1, 64, shared=True), Memory(), widening.inspect

    def job(keep: Keeper | None) -> Any:
        return lambda token: learning_job(values, keep, token, **auto)

    first = Follower()
    whole = first.run(job(None))
    assert any("the blind spot grows" in one for one in first.told)
    assert any("Seen by the network" in one for one in first.told)

    cancelled = Follower(99)
    shown: list[Any] = []

    def cancelled_in_the_second_look(*args: Any) -> Any:
        shown.append(args)
        if len(shown) == 2:
            cancelled.token.cancel()
            cancelled.token.raise_if_cancelled()
        return look(*args)

    monkeypatch.setattr(widening, "inspect", cancelled_in_the_second_look)
    assert cancelled.run(job(kept)) is None
    assert cancelled.steps[-1] == 4
    assert len(looks_in(kept)) == 1  # the second is taken again
    monkeypatch.setattr(widening, "inspect", look)
    # With a larger hole accepted, and with the noise refined behind it.
    assert Follower(5, by_token=False).run(job(kept)) is None
    assert len(looks_in(kept)) == 2
    assert Follower(9).run(job(kept)) is None
    last = Follower()
    assert_same(last.run(job(kept)), whole)
    assert last.steps == list(range(10, 21))


def looks_in(kept: Memory) -> list[Any]:
    assert kept.content is not None
    facts, _ = unpack(kept.content, kept.name)
    looks: list[Any] = facts["parts"]["widening"]["looks"]
    return looks


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_a_student_that_was_stopped_ends_as_if_it_never_was(
    start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"lessons": 16, "crop": 32, "steps": 8, "minutes": 1e9, "patience": 9}
    recipe = distilling.student_recipe("cpu").model_copy(update=few)
    monkeypatch.setattr(distilling, "student_recipe", lambda _: recipe)
    teacher = random_teacher(2, units="noise" if start == "warm" else "scale", depth=3)
    stack, settings = open_stack(recording()[0]), DistillSettings(threads=1)

    def job(keep: Keeper | None) -> Any:
        return lambda token: distill(teacher, stack, settings, token, keep=keep)

    whole, kept = Follower().run(job(None)), Memory()
    assert (whole.provenance["distillation"]["start"]["name"] == "teacher") == (
        start == "cold"
    )
    assert Follower(4).run(job(kept)) is None
    assert Follower(6, by_token=False).run(job(kept)) is None
    last = Follower()
    assert_same(last.run(job(kept)), whole)
    assert last.steps == [7, 8]
    with torch.no_grad():
        teacher.teacher.last.weight.mul_(2)
    with pytest.raises(CheckpointError, match="another network or schedule"):
        run(distill(teacher, stack, settings, CancelToken(), keep=kept))


def test_a_training_does_not_go_on_from_other_start_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, kept = recording(), Memory()

    def job(token: CancelToken) -> Any:
        return learning_job(values, kept, token)

    assert Follower(2).run(job) is None
    facts = warm.Beginning.as_dict
    monkeypatch.setattr(
        warm.Beginning, "as_dict", lambda self: {**facts(self), "sha256": "another"}
    )
    with pytest.raises(CheckpointError, match="another network or schedule"):
        Follower().run(job)


def test_the_state_is_kept_on_the_way_and_a_killed_training_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, kept = recording(), Memory()
    monkeypatch.setattr(keeping, "INTERVAL_S", 0.0)
    monkeypatch.setattr(keeping, "SHARE", 1e9)
    whole = run(learning_job(values, kept, CancelToken(), start="cold"))
    assert len(kept.saved) == 8 + 1
    killed = Memory(kept.saved[5])
    follower = Follower()
    again = follower.run(
        lambda token: learning_job(values, killed, token, start="cold")
    )
    assert follower.steps[0] == 7
    assert_same(again, whole)
    before = unpack(kept.saved[5], "")[0]["state"]["seconds"]
    assert again.provenance["training"]["seconds"] > before > 0


def test_the_state_is_kept_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(keeping.time, "perf_counter", lambda: now[0])
    keep, fake = Keeping(slow := Memory()), Fake()

    def saved_for_a_second(content: bytes) -> None:
        now[0] += 1.0

    slow.save = saved_for_a_second  # type: ignore[method-assign]
    assert not keep.is_due
    now[0] = keeping.INTERVAL_S
    assert keep.is_due
    assert keep.save(fake) == 1.0
    now[0] = 2 * keeping.INTERVAL_S + 1
    assert not keep.is_due  # that would be more than 1 % of the time
    now[0] = keeping.INTERVAL_S + 100
    assert keep.is_due
    assert not Keeping(None).is_due


def test_a_place_that_refuses_stops_no_training() -> None:
    class Full(Memory):
        def save(self, content: bytes) -> None:
            raise RunError("the disk is full.")

    follower = Follower()
    model = follower.run(lambda token: learning_job(recording(), Full(), token))
    assert model.provenance["training"]["steps"] == 8
    told = "The state of the training could not be kept: the disk is full."
    assert told in follower.told
    cancelled = Follower(3)
    with pytest.raises(RunError, match="the disk is full"):
        cancelled.run(lambda token: learning_job(recording(), Full(), token))


# --- what is refused -------------------------------------------------------------


class Fake:
    """A training with one number and one tensor."""

    def __init__(self) -> None:
        self.taken: Any = None

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        large = torch.arange(60.0).reshape(1, 3, 4, 5)
        large = large.to(memory_format=torch.channels_last)
        return {"score": float("inf"), "n": 2**70}, {"w": large, "s": torch.tensor(3.0)}

    def restore(self, facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        if set(tensors) != {"w", "s"}:
            raise KeyError("w")
        self.taken = facts, tensors


def kept_by(asked: dict[str, Any], plan: Any = None) -> bytes:
    memory = Memory()
    Keeping(memory, asked, plan).save(Fake())
    assert memory.content is not None
    return memory.content


def test_bytes_give_back_what_they_were_made_of() -> None:
    fake = Fake()
    assert Keeping(Memory(kept_by({"steps": 1})), {"steps": 1}).taken_up(fake)
    facts, tensors = fake.state()
    assert fake.taken[0] == facts
    assert all(torch.equal(fake.taken[1][name], tensors[name]) for name in tensors)
    assert not Keeping(Memory()).taken_up(fake)
    assert not Keeping(None).taken_up(fake)


@pytest.mark.parametrize(
    ("asked", "plan", "fingerprint", "sentence"),
    [
        ({"steps": 2}, {}, "a", "begun with steps=1, but steps=2 is asked for now"),
        ({"steps": 1}, {"width": 8}, "a", "begun with another network or schedule"),
        ({"steps": 1}, {}, "b", "belongs to another stack"),
    ],
)
def test_what_belongs_to_another_training_is_refused(
    asked: Any, plan: Any, fingerprint: str, sentence: str
) -> None:
    memory, fake = Memory(kept_by({"steps": 1}), fingerprint), Fake()
    with pytest.raises(CheckpointError, match=sentence) as caught:
        Keeping(memory, asked, plan).taken_up(fake)
    assert "result.partial" in str(caught.value)
    assert "begin anew with --overwrite" in str(caught.value)
    assert fake.taken is None


def test_any_damage_is_noticed() -> None:
    content = kept_by({"steps": 1})
    damaged = [
        content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        for place in range(0, len(content), 3)
    ]
    model = torch.zeros(3)
    cut = [content[:size] for size in (0, 1, 7, 8, 50, len(content) - 1)]
    other = [b"\0" * 500, b"{}" * 50, pack({"format": "one"}, {"w": model})]
    for one in (*damaged, *cut, *other, content + b"0"):
        fake = Fake()
        with pytest.raises(CheckpointError):
            Keeping(Memory(one), {"steps": 1}).taken_up(fake)
        assert fake.taken is None


@pytest.mark.parametrize("whole", [True, False])
def test_another_version_is_named(whole: bool) -> None:
    facts, tensors = unpack(kept_by({}), "")
    if whole:
        content = pack({**facts, "format": 99}, tensors)
        told = "training format 99, this version goes on from 1"
    else:
        content = pack(facts, {"w": tensors["w"]})
        told = "kept by another version"
    with pytest.raises(CheckpointError, match=told):
        Keeping(Memory(content)).taken_up(Fake())


def test_other_settings_of_a_real_training_are_named() -> None:
    kept = Memory()
    Follower(2).run(lambda token: learning_job(recording(), kept, token))
    with pytest.raises(CheckpointError, match=r"seed=0, but seed=5 is asked for now"):
        run(learning_job(recording(), kept, CancelToken(), seed=5))
    free = {"device", "threads"}
    assert not free & unpack(kept.saved[0], "")[0]["asked"].keys()
