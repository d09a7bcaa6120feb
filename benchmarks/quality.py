"""PSNR and SSIM on three truths at three noise levels, against baselines.

Run ``python benchmarks/quality.py --out docs/benchmarks``. Results are kept in a JSON
file and continued: a case that is in it is not run again. ``--budget`` stops after
that many minutes; the next call goes on. ``--planes`` makes the stacks smaller.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_blindspot as nb
from _baselines import count, noise2void, same_size_unet, supervised
from _results import Kept, options, setting
from _truths import PREFILTER, Case, best_gaussian, make_case, psnr, ssim
from napari_blindspot.api import train_job
from napari_blindspot.config import TrainSettings
from napari_blindspot.device import pick_device
from napari_blindspot.planes import neighbours
from napari_blindspot.progress import run

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

PHOTONS = (5.0, 20.0, 80.0)


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    made = setting(
        args.device,
        seed="noise 1, training 0",
        planes=args.planes,
        seconds=args.seconds,
        threads=args.threads,
    )
    kept = Kept(args.out / f"quality-{args.label}.json", made, args.budget)
    for name in args.truths:
        for photons in args.photons:
            key, measured = f"{name}/{photons:g}", partial(measure, name, photons, args)
            kept.measure(kept.part("cases"), key, measured)
    kept.write_page(table(kept.facts))
    plot(kept.facts, args.out / f"quality-{args.label}.png")


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--truths", nargs="+", default=list(PREFILTER))
    parser.add_argument("--photons", nargs="+", type=float, default=PHOTONS)
    parser.add_argument("--planes", type=int, help="middle planes only")
    parser.add_argument(
        "--seconds", type=float, default=60, help="training, each method"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of every method")
    return parser.parse_args()


def measure(name: str, photons: float, args: argparse.Namespace) -> dict[str, Any]:
    """Denoise one case with every method."""
    case = make_case(name, photons, args.planes)
    device = pick_device(args.device)
    gaussian, sigmas = best_gaussian(case)
    images = {"noisy": case.unit(case.noisy), "gaussian": gaussian}
    ours, facts = denoise(case, args, images)
    network = ours.network

    def unet() -> Any:
        torch.manual_seed(0)
        return same_size_unet(
            count(network), ours.settings.context, ours.settings.depth
        )

    common = {"seconds": args.seconds, "device": device, "crop": facts["crop"]}
    void = noise2void(case, unet(), **common)
    bound = supervised(case, unet, **common)
    images |= {"noise2void": void.image, "supervised": bound.image}
    facts |= {
        "gaussian_sigmas": sigmas,
        "seconds_noise2void": void.seconds,
        "steps_noise2void": void.steps,
        "seconds_supervised_each_half": bound.seconds / 2,
        "steps_supervised_each_half": bound.steps,
        "parameters": count(network),
        "parameters_unet": count(unet()),
    }
    return {
        "psnr": {name: psnr(image, case.truth) for name, image in images.items()},
        "ssim": {name: ssim(image, case.truth) for name, image in images.items()},
        **facts,
    }


def denoise(
    case: Case, args: argparse.Namespace, images: dict[str, Any]
) -> tuple[nb.Model, dict[str, Any]]:
    """Train ours; add the prior mean and the posterior mean to `images`."""
    settings = TrainSettings(
        minutes=args.seconds / 60,
        device=args.device,
        threads=args.threads,
        axes="ZYX",
        seed=0,
    )
    model = run(train_job([case.noisy], settings))
    result = nb.predict(
        model,
        case.noisy,
        axes="ZYX",
        uncertainty=True,
        device=args.device,
        threads=args.threads,
    )
    images["ours_mean"] = case.unit(prior_mean(model, case.noisy))
    images["ours_posterior"] = case.unit(result.image)
    unit = case.unit(result.uncertainty) - case.unit(np.zeros(1))
    training = model.provenance["training"]
    return model, {
        "expected_psnr": float(-10 * np.log10(np.mean(unit**2))),
        "seconds_ours": training["seconds"],
        "steps_ours": training["steps"],
        "stopped_ours": training["stopped"],
        "crop": training["crop"],
        "voxels_per_second": result.metrics["voxels_per_second"],
    }


def prior_mean(model: nb.Model, noisy: np.ndarray) -> np.ndarray:
    """Return the network's mean without the voxel's own value, in grey values."""
    scale, context = model.scales[0], model.settings.context
    volume = torch.from_numpy(scale.forward(noisy))
    out = np.empty(noisy.shape, np.float32)
    for index in range(len(volume)):
        around = neighbours(index, len(volume), context)
        planes = volume[[*around[:context], index, *around[context:]]][None]
        with torch.no_grad():
            out[index] = scale.inverse(model.network(planes).mean[0].numpy())
    return out


COLUMNS = {
    "noisy": "noisy",
    "gaussian": "best Gaussian",
    "noise2void": "Noise2Void",
    "ours_mean": "ours, μ",
    "ours_posterior": "**ours, posterior**",
    "supervised": "supervised, unseen half",
}


def table(results: dict[str, Any]) -> str:
    """Write the Markdown page."""
    made = results["setting"]
    lines = [
        "<!-- written by benchmarks/quality.py -->",
        f"{made['date']}, {made['device']}, torch {made['torch']}, Python "
        f"{made['python']}, napari-blindspot {made['napari_blindspot']}, seeds: "
        f"{made['seed']}; {made['planes'] or 'all'} planes, {made['threads']} thread, "
        f"{made['seconds']:g} s of "
        "training for each method (for each half of the supervised one).",
        "",
        "PSNR in dB / SSIM, range 1.",
        "",
        "| truth | photons | " + " | ".join(COLUMNS.values()) + " | expected PSNR |",
        "|---|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for key, case in results["cases"].items():
        cells = [f"{case['psnr'][c]:.2f} / {case['ssim'][c]:.3f}" for c in COLUMNS]
        name, photons = key.split("/")
        lines.append(
            f"| {name} | {photons} | {' | '.join(cells)} "
            f"| {case['expected_psnr']:.2f} |"
        )
    means = [
        np.mean([case["psnr"][c] for case in results["cases"].values()])
        for c in COLUMNS
    ]
    cells = [f"{mean:.2f}" for mean in means]
    lines += [f"| mean | | {' | '.join(cells)} | |", "", *_efforts(results)]
    return "\n".join(lines) + "\n"


def _efforts(results: dict[str, Any]) -> list[str]:
    rows = [
        "| truth | photons | ours: s, steps | Noise2Void: steps to its best | "
        "supervised: steps, each half | parameters ours, U-Net |",
        "|---|---|---|---|---|---|",
    ]
    for key, case in results["cases"].items():
        name, photons = key.split("/")
        rows.append(
            f"| {name} | {photons} | {case['seconds_ours']:.0f}, {case['steps_ours']} "
            f"| {case['steps_noise2void']} | {case['steps_supervised_each_half']} | "
            f"{case['parameters']}, {case['parameters_unet']} |"
        )
    return rows


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the PSNR of every method over the photons, one panel per truth."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    names = sorted({key.split("/")[0] for key in results["cases"]})
    figure, axes = plt.subplots(
        1, len(names), figsize=(4.5 * len(names), 3.8), layout="constrained"
    )
    for axis, name in zip(np.atleast_1d(axes), names, strict=True):
        cases = {
            float(key.split("/")[1]): case
            for key, case in results["cases"].items()
            if key.startswith(name + "/")
        }
        for column, label in COLUMNS.items():
            if column == "noisy":
                continue
            photons = sorted(cases)
            axis.plot(
                photons,
                [cases[p]["psnr"][column] for p in photons],
                "o-" if column == "ours_posterior" else "o--",
                label=label.strip("*"),
            )
        axis.set(title=name, xlabel="photons at the maximum", xscale="log")
        axis.set_xticks(PHOTONS, [f"{p:g}" for p in PHOTONS])
        axis.minorticks_off()
    np.atleast_1d(axes)[0].set_ylabel("PSNR (dB)")
    np.atleast_1d(axes)[-1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
