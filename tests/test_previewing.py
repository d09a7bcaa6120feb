"""A preview shows what a full run gives, and reads no more than it needs for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

import napari_blindspot as nb
from models import random_student, random_teacher
from napari_blindspot.config import PredictSettings
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.inference.previewing import Place, Previewer, place_of
from napari_blindspot.progress import CancelToken
from napari_blindspot.stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.model import Model

CPU = PredictSettings(device="cpu")


def stack_of(
    values: NDArray[Any], axes: str, chunks: tuple[int, ...] | None = None
) -> Stack:
    return Stack(da.from_array(values, chunks=chunks or values.shape), axes)


def at(stack: Stack, image: NDArray[Any], place: Place) -> NDArray[Any]:
    """Return the same place of a full result."""
    index = {"C": place.channel, "T": place.t, "Z": place.z, "Y": place.y, "X": place.x}
    part: NDArray[Any] = image[tuple(index[axis] for axis in stack.axes)]
    return part


KINDS: dict[str, tuple[str, tuple[int, ...], Model]] = {
    "image": ("YX", (61, 83), random_teacher(0)),
    "volume": ("ZYX", (4, 61, 83), random_teacher()),
    "movie": ("TYX", (4, 61, 83), random_teacher(axis="t")),
    "movie of volumes along z": ("TZYX", (2, 4, 61, 83), random_teacher()),
    "movie of volumes along t": ("TZYX", (4, 2, 61, 83), random_teacher(axis="t")),
    "no context": ("TZYX", (2, 3, 61, 83), random_teacher(0)),
    "channels, each": ("TCZYX", (2, 2, 3, 61, 83), random_teacher(starts=2)),
    "channels, joint": ("TCZYX", (2, 2, 3, 61, 83), random_teacher(channels=2)),
    "student": ("CZYX", (2, 3, 61, 83), random_student()),
    "joint student": ("TCYX", (3, 2, 61, 83), random_student(axis="t", channels=2)),
    "larger hole": ("ZYX", (4, 61, 83), random_teacher(result_hole=(3, 5, 9))),
    "mean alone": ("ZYX", (4, 61, 83), random_teacher(answer="mean", hole=(1, 3, 3))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_is_the_full_run_there(kind: str, rng: np.random.Generator) -> None:
    axes, shape, model = KINDS[kind]
    values = rng.poisson(20, shape).astype(np.uint16)
    stack = stack_of(values, axes)
    whole = nb.predict(model, stack).image
    previewer = Previewer(model, stack, CPU)
    sizes = stack.sizes
    windows = [
        (slice(0, 61), slice(0, 83)),
        (slice(0, 1), slice(0, 1)),
        (slice(60, 61), slice(82, 83)),
        (slice(7, 40), slice(33, 70)),
    ]
    ends = [(0, 0, 0), *((sizes[a] - 1 for a in "CTZ"),)]
    for channel, t, z in ends:
        for y, x in windows:
            place = Place(channel, t, z, y, x)
            shown = previewer(place)
            assert shown.dtype == np.float32
            assert shown.shape == place.shape
            np.testing.assert_allclose(
                shown, at(stack, whole, place), rtol=1e-4, atol=1e-4 * np.ptp(whole)
            )


@pytest.mark.parametrize("model", [random_teacher(), random_student()])
def test_far_from_the_edges_only_the_halo_counts(
    model: Model, rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (3, 190, 170)).astype(np.uint16)
    stack = stack_of(values, "ZYX")
    whole = nb.predict(model, stack).image
    previewer = Previewer(model, stack, CPU)
    place = Place(0, 0, 1, slice(83, 106), slice(71, 90))
    close = {"rtol": 1e-4, "atol": 1e-4 * np.ptp(whole)}
    np.testing.assert_allclose(previewer(place), at(stack, whole, place), **close)
    previewer._predictor.halo = 4
    off = np.abs(previewer(place) - at(stack, whole, place)).max()
    assert off > 1e-3 * np.ptp(whole)


def test_missing_voxels_are_missing_in_the_preview(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (3, 40, 40)).astype(np.float32)
    values[1, 10:12, 10:12] = np.nan
    for model in (random_teacher(), random_student()):
        shown = nb.preview(values, model, "z=1")
        assert np.array_equal(np.isnan(shown), np.isnan(values[1]))


def test_strength_and_hole_are_those_of_the_full_run(rng: np.random.Generator) -> None:
    values, model = rng.poisson(20, (4, 40, 44)).astype(np.uint16), random_teacher()
    for given in ({"strength": 0.4}, {"hole": (1, 5, 3)}):
        shown = nb.preview(values, model, "z=2,x=5:30", **given)
        whole = nb.predict(model, values, **given).image
        np.testing.assert_allclose(shown, whole[2, :, 5:30], rtol=1e-4, atol=1e-2)
    assert np.array_equal(nb.preview(values, model, "z=1", strength=0), values[1])
    with pytest.raises(InputError, match=r"hole=.* is a student"):
        nb.preview(values, random_student(), hole=(1, 3, 3))


class Counted:
    """An array that notes what is read of it."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self.read = values, np.zeros(values.shape, bool)
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, index: Any) -> NDArray[Any]:
        self.read[index] = True
        part: NDArray[Any] = self.values[index]
        return part


def test_only_the_chunks_in_view_with_their_halo_are_read(
    rng: np.random.Generator,
) -> None:
    model = random_teacher(context=1)
    source = Counted(rng.poisson(20, (9, 256, 256)).astype(np.uint16))
    lazy = da.from_array(source, chunks=(1, 16, 16), asarray=False, meta=np.empty(0))
    previewer = Previewer(model, Stack(lazy.astype(np.uint16), "ZYX"), CPU)
    assert not source.read.any()  # nothing before the first request
    previewer(Place(0, 0, 4, slice(128, 136), slice(112, 136)))
    planes, rows, columns = (
        np.flatnonzero(source.read.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1))
    )
    assert planes.tolist() == [3, 4, 5]
    halo = previewer._predictor.halo
    for found, start, stop in ((rows, 128, 136), (columns, 112, 136)):
        assert start - halo - 16 - 4 < found.min() <= start - halo
        assert stop + halo <= found.max() + 1 < stop + halo + 16 + 4


def test_a_student_reads_no_more_than_its_own_small_halo(
    rng: np.random.Generator,
) -> None:
    read = []
    for model in (random_teacher(context=0), random_student(context=0)):
        source = Counted(rng.poisson(20, (256, 256)).astype(np.uint16))
        lazy = da.from_array(source, chunks=(8, 8), asarray=False, meta=np.empty(0))
        previewer = Previewer(model, Stack(lazy.astype(np.uint16), "YX"), CPU)
        previewer(Place(0, 0, 0, slice(120, 128), slice(120, 128)))
        read.append(source.read.sum())
    assert read[1] < read[0] / 2


def test_a_plane_too_large_for_memory_is_cut_and_looks_the_same(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_student()
    values = rng.poisson(20, (2, 200, 310)).astype(np.uint16)
    previewer = Previewer(model, stack_of(values, "ZYX"), CPU)
    place, seen = Place(0, 0, 0, slice(5, 200), slice(0, 310)), []
    whole = previewer(place)
    run_network = previewer._predictor._run

    def noted(t: NDArray[Any], *args: Any) -> Any:
        seen.append(t.shape[-2] * t.shape[-1])
        return run_network(t, *args)

    monkeypatch.setattr(previewer._predictor, "_run", noted)
    monkeypatch.setattr(previewer._predictor, "max_pixels", lambda: 200 * 200)
    np.testing.assert_allclose(previewer(place), whole, rtol=1e-4, atol=1e-2)
    assert len(seen) > 1
    assert max(seen) < 200 * 310


@pytest.mark.parametrize(
    ("y", "x"),
    [
        (slice(0, 1), slice(0, 1)),
        (slice(0, 256), slice(0, 256)),
        (slice(3, 700), slice(255, 513)),
        (slice(250, 260), slice(100, 1900)),
    ],
)
def test_pieces_cover_a_place_once_from_the_middle_outwards(y: slice, x: slice) -> None:
    place = Place(1, 2, 3, y, x)
    count, middles = np.zeros((2000, 2000), int), []
    for piece in place.pieces():
        assert (piece.channel, piece.t, piece.z) == (1, 2, 3)
        assert max(piece.shape) <= 256
        count[piece.y, piece.x] += 1
        middles.append(
            np.hypot(
                (piece.y.start + piece.y.stop - y.start - y.stop) / 2,
                (piece.x.start + piece.x.stop - x.start - x.stop) / 2,
            )
        )
    assert (count[y, x] == 1).all()
    assert count.sum() == place.shape[0] * place.shape[1]
    assert middles == sorted(middles)


def test_pieces_do_not_move_with_the_view() -> None:
    one, other = (
        Place(0, 0, 0, slice(start, 900), slice(0, 900)).pieces() for start in (0, 10)
    )
    same = [piece for piece in one if piece in other]
    assert len(same) == len(one) - 4  # all but those of the first row


def test_pieces_together_are_the_place(rng: np.random.Generator) -> None:
    values = rng.poisson(20, (2, 270, 300)).astype(np.uint16)
    previewer = Previewer(random_student(), stack_of(values, "ZYX"), CPU)
    place = Place(0, 0, 1, slice(0, 270), slice(0, 300))
    whole, pieced = previewer(place), np.full(place.shape, np.nan, np.float32)
    for piece, part in previewer.pieces(place, CancelToken()):
        pieced[piece.y, piece.x] = part
    np.testing.assert_allclose(pieced, whole, rtol=1e-4, atol=1e-2)


def test_a_stale_request_stops_before_it_reads() -> None:
    source = Counted(np.ones((2, 300, 300), np.uint16))
    lazy = da.from_array(source, chunks=(1, 300, 300), asarray=False, meta=np.empty(0))
    previewer = Previewer(random_student(), Stack(lazy.astype(np.uint16), "ZYX"), CPU)
    place, token = Place(0, 0, 0, slice(0, 300), slice(0, 300)), CancelToken()
    pieces = previewer.pieces(place, token)
    next(pieces)
    source.read[:] = False
    token.cancel()
    with pytest.raises(Cancelled):
        next(pieces)
    with pytest.raises(Cancelled):
        previewer(place, token)
    assert not source.read.any()


def test_what_is_not_named_is_in_the_middle_first_or_whole() -> None:
    stack = stack_of(np.zeros((5, 2, 9, 20, 30), np.uint16), "TCZYX")
    assert place_of(stack, None) == Place(0, 2, 4, slice(0, 20), slice(0, 30))
    place = place_of(stack, "c=1,z=-1,y=3:8")
    assert place == Place(1, 2, 8, slice(3, 8), slice(0, 30))
    assert place_of(stack, {"z": 0, "x": slice(4, 6)}).x == slice(4, 6)
    assert place_of(stack, {"T": np.int64(3)}).t == 3


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ("z=1:3", "holds 2 planes along Z, but a preview shows one"),
        ("t=:", "holds 5 planes along T"),
        ("z=9", "outside of the stack"),
        ("y=5:5", "empty"),
        ("q=1", "names the axis 'q'"),
        ("z=1,z=2", "at most once"),
        ("the middle", "cannot be read"),
        ({"y": slice(0, 9, 2)}, "no steps"),
    ],
)
def test_regions_that_are_no_part_of_one_plane_are_refused(
    region: Any, sentence: str
) -> None:
    stack = stack_of(np.zeros((5, 2, 9, 20, 30), np.uint16), "TCZYX")
    with pytest.raises(InputError, match=sentence):
        place_of(stack, region)


@pytest.mark.parametrize(
    "place",
    [
        Place(1, 0, 0, slice(0, 5), slice(0, 5)),
        Place(0, 1, 0, slice(0, 5), slice(0, 5)),
        Place(0, 0, -1, slice(0, 5), slice(0, 5)),
        Place(0, 0, 3, slice(0, 5), slice(0, 5)),
        Place(0, 0, 0, slice(0, 31), slice(0, 5)),
        Place(0, 0, 0, slice(4, 4), slice(0, 5)),
        Place(0, 0, 0, slice(-2, 4), slice(0, 5)),
    ],
    ids=str,
)
def test_places_outside_of_the_stack_are_refused(place: Place) -> None:
    stack = stack_of(np.zeros((3, 30, 30), np.uint16), "ZYX")
    previewer = Previewer(random_student(), stack, CPU)
    with pytest.raises(InputError, match="lies outside of the stack"):
        previewer(place)


def test_a_model_of_other_channels_or_planes_is_refused() -> None:
    channels = stack_of(np.ones((3, 2, 30, 30), np.uint16), "CZYX")
    with pytest.raises(InputError, match="2 channels"):
        Previewer(random_teacher(channels=2), channels, CPU)
    single = stack_of(np.ones((1, 30, 30), np.uint16), "ZYX")
    with pytest.raises(InputError, match="neighbour planes"):
        Previewer(random_teacher(), single, CPU)


def test_the_preview_leaves_the_model_where_it_is(rng: np.random.Generator) -> None:
    values, model = rng.poisson(20, (3, 40, 40)).astype(np.uint16), random_student()
    before = {n: t.clone() for n, t in model.network.state_dict().items()}
    nb.preview(values, model)
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    "given",
    [{"uncertainty": True}, {"dtype": "same"}, {"overwrite": True}, {"steps": 3}],
    ids=str,
)
def test_what_has_no_meaning_for_a_preview_is_refused(
    given: dict[str, Any], rng: np.random.Generator
) -> None:
    values = rng.poisson(20, (3, 40, 37)).astype(np.uint16)
    (name,) = given
    with pytest.raises(InputError, match=f"{name}=.* is not a setting; the settings"):
        nb.preview(values, random_teacher(), "z=1", **given)


def test_a_preview_runs_on_the_threads_that_are_asked_for(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    answer = Previewer.__call__

    def noted(self: Previewer, *args: Any) -> Any:
        seen.append(torch.get_num_threads())
        return answer(self, *args)

    monkeypatch.setattr(Previewer, "__call__", noted)
    values = rng.poisson(20, (3, 40, 37)).astype(np.uint16)
    nb.preview(values, random_teacher(), "z=1", threads=2, device="cpu")
    assert seen == [2]
    assert torch.get_num_threads() == 1
