"""Sets of real photographs in the layouts in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from skimage.io import imsave

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SIDE = 64


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _photo_sets

    return _photo_sets


@pytest.fixture
def photographs(monkeypatch: pytest.MonkeyPatch, sets: ModuleType) -> ModuleType:
    import photographs

    return photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sets"


def pair(seed: int, height: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy colour photograph and its truth, of unequal sides."""
    rng = np.random.default_rng(seed)
    truth = np.empty((height, SIDE + 16, 3), np.uint8)
    truth[...] = np.linspace(20, 120, SIDE + 16)[:, None] + [0, 10, 20 + seed]
    noisy = np.clip(truth + rng.normal(20, 8, truth.shape), 0, 255)
    return noisy.astype(np.uint8), truth


def write_pair(seed: int, noisy: Path, truth: Path) -> tuple[np.ndarray, np.ndarray]:
    images = pair(seed)
    for path, image in zip((noisy, truth), images, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, image, check_contrast=False)
    return images


def write_blocks(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write 2 scenes of 3 blocks."""
    each = [pair(seed, SIDE + 16) for seed in range(6)]
    noisy, truth = (
        np.stack(part).reshape(2, 3, *part[0].shape) for part in zip(*each, strict=True)
    )
    folder.mkdir(parents=True)
    for kind, values in (("Noisy", noisy), ("Gt", truth)):
        name = f"Validation{kind}BlocksSrgb"
        savemat(folder / f"{name}.mat", {name: values})
    return noisy, truth


def test_blocks_of_sidd_are_pairs_by_scene_and_block(
    sets: ModuleType, folder: Path
) -> None:
    noisy, truth = write_blocks(folder / "SIDD" / "validation")
    listed = sets.list_set("SIDD validation", folder)
    assert len(listed) == 6
    shot = listed["scene 1, block 2"]()
    assert shot.noisy.dtype == shot.truth.dtype == np.uint8
    np.testing.assert_array_equal(shot.noisy, noisy[1, 2][None])
    np.testing.assert_array_equal(shot.truth, truth[1, 2][None])


@pytest.mark.parametrize("prefix", ["0001_", ""], ids=["medium", "small"])
def test_scenes_of_sidd_are_pairs_of_files(
    sets: ModuleType, folder: Path, prefix: str
) -> None:
    scene = folder / "SIDD" / "Data" / "0001_001_S6_00100_00060_3200_L"
    written = {
        number: write_pair(
            int(number),
            scene / f"{prefix}NOISY_SRGB_{number}.PNG",
            scene / f"{prefix}GT_SRGB_{number}.PNG",
        )
        for number in ("010", "011")
    }
    listed = sets.list_set("SIDD", folder)
    assert list(listed) == [
        f"Data/{scene.name}/{prefix}NOISY_SRGB_{number}" for number in written
    ]
    for read, (noisy, truth) in zip(listed.values(), written.values(), strict=True):
        shot = read()
        assert shot.noisy.dtype == shot.truth.dtype == np.uint8
        np.testing.assert_array_equal(shot.noisy, noisy[None])
        np.testing.assert_array_equal(shot.truth, truth[None])


def test_the_crops_of_polyu_are_read_and_not_its_whole_photographs(
    sets: ModuleType, folder: Path
) -> None:
    stem = "Canon5D2_5_160_3200_chair"
    crops, whole = (folder / "PolyU" / n for n in ("CroppedImages", "OriginalImages"))
    noisy, truth = write_pair(
        1, crops / f"{stem}_10_real.JPG", crops / f"{stem}_10_mean.JPG"
    )
    write_pair(2, whole / f"{stem}_real.JPG", whole / f"{stem}_mean.JPG")
    listed = sets.list_set("PolyU", folder)
    assert list(listed) == [f"CroppedImages/{stem}_10_real"]
    shot = next(iter(listed.values()))()
    assert shot.noisy.dtype == shot.truth.dtype == np.uint8
    assert shot.noisy.shape == shot.truth.shape == (1, *noisy.shape)
    assert shot.truth.mean() == pytest.approx(truth.mean(), abs=1)  # JPEG
    assert shot.noisy.mean() == pytest.approx(noisy.mean(), abs=1)


def test_results_of_others_beside_the_photographs_of_cc_are_left_out(
    sets: ModuleType, folder: Path
) -> None:
    stem = folder / "CC" / "5dmark3_iso3200_1"
    noisy, truth = write_pair(1, Path(f"{stem}_real.png"), Path(f"{stem}_mean.png"))
    imsave(f"{stem}_ours.png", truth, check_contrast=False)
    (read,) = sets.list_set("CC", folder).values()
    shot = read()
    np.testing.assert_array_equal(shot.noisy, noisy[None])
    np.testing.assert_array_equal(shot.truth, truth[None])


def test_dnd_is_turned_upright_and_has_no_truth(sets: ModuleType, folder: Path) -> None:
    noisy, _ = pair(3)
    file = folder / "DND" / "images_srgb" / "0001.mat"
    file.parent.mkdir(parents=True)
    with h5py.File(file, "w") as opened:
        opened["InoisySRGB"] = (noisy / 255).astype(np.float32).T
    shot = sets.list_set("DND", folder)["0001"]()
    assert shot.truth is None
    assert shot.noisy.dtype == np.float32
    np.testing.assert_allclose(shot.noisy, noisy[None], atol=1e-3)


def test_dnd_without_h5py_says_what_to_install(
    sets: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "DND" / "images_srgb" / "0001.mat"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(sets, "find_spec", {}.get)
    with pytest.raises(sets.NotAvailableError, match="pip install h5py"):
        sets.list_set("DND", folder)


def test_a_photograph_without_its_truth_is_named(
    sets: ModuleType, folder: Path
) -> None:
    stem = folder / "CC" / "d600_iso3200_1"
    write_pair(1, Path(f"{stem}_real.png"), Path(f"{stem}_mean.png"))
    Path(f"{stem}_mean.png").unlink()
    with pytest.raises(sets.NotAvailableError, match="no truth d600_iso3200_1_mean"):
        sets.list_set("CC", folder)


def test_sets_that_are_not_there_have_a_row_that_says_so(
    photographs: ModuleType, folder: Path, tmp_path: Path
) -> None:
    (folder / "CC").mkdir(parents=True)
    photographs.main(["--folder", str(folder), "--out", str(tmp_path)])
    page = (tmp_path / "photographs-cpu.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if "not available" in line]
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {label}" for label in photographs.SETS
    ]


def test_photographs_are_denoised_once_and_scored(
    photographs: ModuleType,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_blocks(folder / "SIDD")
    # Teaching a student takes as long for few steps of its teacher as for many.
    quick = {"method": "atbsn", "student": "none"}
    monkeypatch.setitem(photographs.METHODS, "atbsn", quick)
    words = ["--folder", str(folder), "--sets", "SIDD validation", "--every", "6"]
    words += ["--out", str(tmp_path), "--steps", "2"]
    photographs.main(words)
    facts = json.loads((tmp_path / "photographs-cpu.json").read_text(encoding="utf-8"))
    found = facts["sets"]["SIDD validation"]
    (one,) = found.values()
    # The noise adds 20 and scatters by 8.
    assert one["noisy"]["psnr"] == pytest.approx(21.5, abs=0.3)
    for method in photographs.METHODS:
        assert one[method]["psnr"] > 15
        assert one[method]["seconds"] > 0
    page = (tmp_path / "photographs-cpu.md").read_text(encoding="utf-8")
    assert "| SIDD validation | 1 | atbsn |" in page
    assert "one photograph of 6" in page

    def refuse(*args: object, **options: object) -> None:
        pytest.fail("a photograph was denoised again")

    monkeypatch.setattr(photographs, "measure", refuse)
    photographs.main(words)


def test_one_network_can_learn_from_all_photographs_of_a_set(
    sets: ModuleType, folder: Path
) -> None:
    noisy, _ = write_blocks(folder / "SIDD")
    joined = sets.together(sets.list_set("SIDD validation", folder))
    shot = joined["6 together"]().middle(32)
    np.testing.assert_array_equal(
        shot.noisy, noisy.reshape(6, *noisy.shape[2:])[:, 24:56, 24:56]
    )
    assert shot.truth.shape == shot.noisy.shape
