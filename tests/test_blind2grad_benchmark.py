"""The benchmark of Blind2Grad: its scores, its rivals and its page."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SIDE = 72


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    monkeypatch.setenv("BLINDSPOT_DATA", str(tmp_path))  # nobody's photographs
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _blind2grad_ablation as ablation
    import _blind2grad_batch as batch
    import _blind2grad_images as images
    import _blind2grad_stacks as stacks
    import _blind2grad_table as table
    import _single_image as single
    import blind2grad

    return SimpleNamespace(
        ablation=ablation,
        batch=batch,
        images=images,
        stacks=stacks,
        single=single,
        script=blind2grad,
        table=table,
    )


def text_photo(bench: SimpleNamespace) -> Any:
    whole = bench.images.text_image(0)
    return bench.images.Shot("text/01/50", whole[:, :SIDE, :SIDE], 50.0, 1).photo


def test_gmsd_is_zero_for_equal_images_and_grows_with_noise(
    bench: SimpleNamespace,
) -> None:
    edge = np.zeros((64, 64))
    edge[:, 32:] = 200.0
    noise = np.random.default_rng(0).standard_normal(edge.shape)
    slight, strong = (bench.images.gmsd(edge + s * noise, edge) for s in (5, 40))
    assert bench.images.gmsd(edge, edge) == 0
    assert strong > slight > 0


def test_noise_follows_from_level_and_number_alone(bench: SimpleNamespace) -> None:
    first, again = (text_photo(bench).noisy for _ in range(2))
    np.testing.assert_array_equal(first, again)
    apart = first - text_photo(bench).clean
    assert apart.std() == pytest.approx(50 / 255, rel=0.03)


def test_sets_that_are_absent_have_no_images(bench: SimpleNamespace) -> None:
    assert list(bench.images.shots("Urban100", 25.0, None, whole=True)) == []


def test_halves_are_means_of_the_two_diagonals(bench: SimpleNamespace) -> None:
    image = torch.tensor([[[[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]]]])
    one, other = bench.single.halves(image)
    assert one.flatten().tolist() == [2.5]
    assert other.flatten().tolist() == [2.5]
    image[..., 0, 0] = 5.0
    assert bench.single.halves(image)[1].flatten().tolist() == [4.5]


def test_the_grid_hides_every_pixel_once_and_shows_its_neighbours(
    bench: SimpleNamespace,
) -> None:
    image = torch.arange(64.0).reshape(1, 8, 8)
    grids = [bench.single.grid(image, index) for index in range(16)]
    assert bool((torch.stack(grids).sum(0) == 1).all())
    shown = bench.single.without(image, grids[5])
    assert float(shown[0, 1, 1]) == 9.0  # a ramp: the mean of its neighbours
    changed = image.clone()
    changed[0, 1, 1] = 1000.0
    after = bench.single.without(changed, grids[5])
    assert float(after[0, 1, 1]) == 9.0


@pytest.mark.parametrize(
    ("method", "steps"), [("zero_shot_noise2noise", 150), ("noise2self", 25)]
)
def test_rivals_beat_the_noisy_image(
    bench: SimpleNamespace, method: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    clock = SimpleNamespace(process_time=lambda: next(ticks))
    monkeypatch.setattr(bench.single, "time", clock)  # a second for every step
    photo = text_photo(bench)
    image, facts = getattr(bench.single, method)(photo, steps)
    assert image.shape == photo.clean.shape
    before = bench.images.scored(photo.noisy, photo.clean)
    after = bench.images.scored(image, photo.clean)
    assert after["psnr"] > before["psnr"] + 1.5
    assert facts["steps"] == steps


def test_both_readings_of_the_strength_have_the_variance_that_they_say(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = np.full((4, 64, 64), 0.5, np.float32)
    monkeypatch.setattr(bench.stacks, "load_truth", lambda name, planes: flat)
    for reading, strength, variance in (
        ("A", 30, 0.5 / 30),
        ("B", 50, 0.5 * 50 / 255),
    ):
        case = bench.stacks.make_counts(reading, strength, 4)
        unit = case.unit(case.noisy)
        assert unit.mean() == pytest.approx(0.5, rel=0.02)
        assert unit.var() == pytest.approx(variance, rel=0.05)


def test_the_inverse_of_the_transform_gives_back_the_mean_count(
    bench: SimpleNamespace,
) -> None:
    counts = np.random.default_rng(0).poisson(6.0, 200_000)
    stable = np.mean(2 * np.sqrt(counts + 3 / 8), keepdims=True)
    assert bench.stacks.inverse_anscombe(stable)[0] == pytest.approx(6.0, rel=0.01)


def test_a_key_names_the_loss_form_and_what_is_not_the_default(
    bench: SimpleNamespace,
) -> None:
    name_of = bench.ablation.name_of
    assert name_of({"loss_form": "signed"}) == "loss_form=signed"
    assert name_of({"omega": 0.8, "mask": "dual"}) == name_of({})
    assert name_of({"omega": 0.2, "loss_form": "signed"}) == (
        "loss_form=signed omega=0.2"
    )


def test_a_run_is_continued_and_its_page_shows_what_was_measured(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = bench.images.text_image(0)[:, :SIDE, :SIDE]
    monkeypatch.setattr(bench.images, "text_image", lambda seed: small)
    words = ["--out", str(tmp_path), "--parts", "photos", "--sets", "text"]
    words += ["--limit", "1", "--sigmas", "25", "--steps", "2", "--seconds", "0.2"]
    bench.script.main([*words, "--methods", "noisy", "zs-n2n"])
    path = tmp_path / "blind2grad-cpu.json"
    first = json.loads(path.read_text())["images"]["text/01/25"]
    bench.script.main([*words, "--methods", "noisy", "zs-n2n", "blind2grad"])
    second = json.loads(path.read_text())["images"]["text/01/25"]
    assert first == {name: second[name] for name in first}
    page = path.with_suffix(".md").read_text()
    assert f"| text | ZS-N2N | 1 | {first['zs-n2n']['psnr']:.2f} |" in page
    assert "**blind2grad**" in page
    assert "Urban100" in page


def test_levels_of_noise_are_set_side_by_side(bench: SimpleNamespace) -> None:
    ours = bench.ablation.name_of({})

    def rows(psnr: float) -> dict[str, Any]:
        scores = {"psnr": psnr, "ssim": 0.5, "gmsd": 0.1}
        return {"noisy": scores, ours: scores}

    images = {
        f"Set12/{number:02d}/{sigma}": rows(30 - sigma / 25 + number)
        for number in (1, 3)
        for sigma in (25, 50, 75)
    }
    images["Set12/04/25"] = rows(99)  # has no other level
    made = dict.fromkeys(("date", "device", "torch", "python", "napari_blindspot"), "")
    page = bench.table.page({"images": images, "setting": made | {"seconds": 1}}, [])
    assert "### Noise levels: 2 images of Set12" in page
    assert "| blind2grad | 31.00 ± 1.00 | 30.00 ± 1.00 | 29.00 ± 1.00 |" in page
    assert "BM3D, σ known | 31" not in page


def test_networks_of_a_batch_learn_as_they_do_alone(bench: SimpleNamespace) -> None:
    batch = bench.batch
    nets, asked = batch._networks(2), batch._asked(2)
    alone, together = (
        make(nets, asked) for make in (batch._one_by_one, batch._as_batch)
    )
    first = alone()
    torch.testing.assert_close(together(), first, atol=1e-4, rtol=0)
    torch.testing.assert_close(together(), alone(), atol=1e-3, rtol=0)
