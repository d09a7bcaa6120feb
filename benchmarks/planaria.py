"""Fill the table of the published CARE Planaria set.

Run ``python benchmarks/planaria.py --data DIR``, where DIR holds the folders ``GT``,
``condition_1``, ``condition_2`` and ``condition_3`` with TIFF stacks of equal names,
as the set is published. Every noisy stack trains its own network; no ground truth is
seen before the scores are taken. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_blindspot import api
from napari_blindspot.config import DenoiseSettings, parse_settings
from napari_blindspot.errors import InputError
from napari_blindspot.progress import run
from napari_blindspot.sample import fetch_planaria

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

CONDITIONS = ("condition_1", "condition_2", "condition_3")
NESTED = (
    ".",
    "test_data",
    "Denoising_Planaria",
    "Denoising_Planaria/test_data",
    "test_data_Denoising_Planaria",
    "Denoising_Planaria/Denoising_Planaria/test_data",
)
SCORES = ("psnr_noisy", "psnr", "ssim_noisy", "ssim", "seconds_train")
PACKAGES = ("napari-blindspot", "numpy", "scikit-image", "torch")

Results = dict[str, dict[str, Any]]


def find_test_data(folder: Path) -> Path:
    """Return the folder that holds GT and the conditions, at `folder` or below it.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    for nested in NESTED:
        candidate = folder / nested
        if (candidate / "GT").is_dir():
            return candidate
    raise InputError(
        f"--data {folder} holds no folder GT; give the folder of the unpacked Planaria "
        f"set, with GT, condition_1, condition_2 and condition_3."
    )


def pairs(data: Path, limit: int | None) -> Iterator[tuple[str, Path, Path]]:
    """Yield (condition, noisy file, ground-truth file), at most `limit` per condition.

    Raises
    ------
    InputError
        If a condition is missing or empty, or a stack has no ground truth.
    """
    for condition in CONDITIONS:
        noisy_files = sorted((data / condition).glob("*.tif*"))[:limit]
        if not noisy_files:
            raise InputError(f"{data / condition} holds no TIFF stack.")
        for noisy in noisy_files:
            truth = data / "GT" / noisy.name
            if not truth.is_file():
                raise InputError(f"{noisy} has no ground truth: {truth} is missing.")
            yield condition, noisy, truth


def normalise_truth(truth: NDArray[Any]) -> NDArray[np.float32]:
    """Map the 0.1 % and 99.9 % quantiles of the ground truth to 0 and 1."""
    low, high = np.percentile(truth, [0.1, 99.9])
    return ((truth.astype(np.float32) - low) / (high - low)).astype(np.float32)


def fit_to_truth(image: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float32]:
    """Return a·image + b with a and b of the least squared error to `truth`."""
    x = image.astype(np.float64)
    centred = x - x.mean()
    variance = np.mean(centred**2)
    slope = np.mean(centred * truth) / variance if variance > 0 else 0.0
    return (slope * centred + truth.mean(dtype=np.float64)).astype(np.float32)


def score(image: NDArray[Any], truth: NDArray[Any]) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of a stack (Z, Y, X) against the raw ground truth."""
    target = normalise_truth(truth)
    fitted = fit_to_truth(image, target)
    window = min(7, *(size - 1 + size % 2 for size in target.shape))
    ssim = structural_similarity(target, fitted, data_range=1.0, win_size=window)
    return float(peak_signal_noise_ratio(target, fitted, data_range=1.0)), float(ssim)


def denoise_and_score(
    noisy_file: Path, truth_file: Path, settings: DenoiseSettings
) -> dict[str, Any]:
    """Denoise one stack and score it beside the noisy one."""
    result = run(api.denoise_job(noisy_file, settings))
    truth, noisy = tifffile.imread(truth_file), tifffile.imread(noisy_file)
    psnr_noisy, ssim_noisy = score(noisy, truth)
    psnr, ssim = score(np.asarray(result.image), truth)
    return {
        "psnr_noisy": psnr_noisy,
        "ssim_noisy": ssim_noisy,
        "psnr": psnr,
        "ssim": ssim,
        "seconds_train": result.metrics["seconds_train"],
        "device": result.metrics["device"],
    }


def settings_key(settings: DenoiseSettings) -> str:
    """Return a short name of the settings; other settings make other results."""
    text = settings.model_dump_json() + version("napari-blindspot")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_results(path: Path) -> Results:
    """Return what an earlier run has finished."""
    if not path.is_file():
        return {}
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def write_results(path: Path, results: Results) -> None:
    """Write through a second file, so that an interrupt leaves one whole file."""
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
    partial.replace(path)


def fill(
    data: Path, settings: DenoiseSettings, record: Path, limit: int | None
) -> Results:
    """Denoise and score what is not in `record` yet; return all of these settings."""
    results, key = read_results(record), settings_key(settings)
    wanted: list[str] = []
    for condition, noisy, truth in pairs(data, limit):
        name = f"{condition}/{noisy.name}/{key}"
        wanted.append(name)
        if name in results:
            continue
        results[name] = denoise_and_score(noisy, truth, settings)
        write_results(record, results)
        print(f"{condition}/{noisy.name}: {results[name]['psnr']:.2f} dB", flush=True)
    return {name: results[name] for name in wanted}


def table(results: Results) -> list[str]:
    """Return the markdown table: one row per condition, means over its stacks."""
    rows = [
        "| condition | stacks | noisy PSNR dB | denoised PSNR dB | noisy SSIM "
        "| denoised SSIM | training s per stack |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        own = [r for name, r in results.items() if name.startswith(condition + "/")]
        mean = {score: float(np.mean([r[score] for r in own])) for score in SCORES}
        rows.append(
            f"| {condition} | {len(own)} | {mean['psnr_noisy']:.2f} "
            f"| {mean['psnr']:.2f} | {mean['ssim_noisy']:.3f} | {mean['ssim']:.3f} "
            f"| {mean['seconds_train']:.0f} |"
        )
    return rows


def page(results: Results, settings: DenoiseSettings) -> str:
    """Return the page: table, protocol, machine, versions."""
    devices = sorted({str(result["device"]) for result in results.values()})
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    given = settings.model_dump(exclude_defaults=True)
    budget = ", ".join(f"{name} {value}" for name, value in given.items())
    return "\n".join(
        [
            "# The published Planaria set",
            "",
            *table(results),
            "",
            "Every stack trains its own network on itself alone; the ground truth is "
            "used for the scores only. Protocol: the ground truth is mapped so that "
            "its 0.1 % and 99.9 % quantiles become 0 and 1; the image is fitted to it "
            "by one affine map with the least squared error; PSNR and SSIM take the "
            "data range 1; SSIM is that of the whole volume, with a cubic window of "
            "7 voxels (smaller in thinner stacks).",
            "",
            f"Settings other than the defaults: {budget}. Seed {settings.seed}. "
            f"Device: {', '.join(devices)}. Machine: {platform.platform()}, "
            f"{platform.processor() or platform.machine()}. Python "
            f"{platform.python_version()}, {versions}. "
            f"{datetime.datetime.now(tz=datetime.UTC).date().isoformat()}.",
            "",
        ]
    )


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--fetch", action="store_true", help="download the set into DIR first"
    )
    parser.add_argument("--budget", type=float, default=5.0, metavar="MINUTES")
    parser.add_argument("--steps", type=int, help="train by steps, not by minutes")
    parser.add_argument("--limit", type=int, help="stacks per condition")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/planaria.md"))
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Fill the table and write it to ``--out``, the single results beside it."""
    given = parse_arguments(words)
    budget = {"steps": given.steps} if given.steps else {"minutes": given.budget}
    settings = parse_settings(
        DenoiseSettings, axes="ZYX", device=given.device, seed=given.seed, **budget
    )
    data = find_test_data(fetch_planaria(given.data) if given.fetch else given.data)
    results = fill(data, settings, given.out.with_suffix(".json"), given.limit)
    given.out.write_text(page(results, settings), encoding="utf-8")
    print(f"Wrote {given.out}")


if __name__ == "__main__":
    main()
