"""In which units start weights should see a stack: of its noise, or of its grey values.

Run ``python benchmarks/start_units.py --out docs/benchmarks``. Three networks for a CPU
are pretrained from the same random weights on the same generated recordings, and asked
at once, without a step on the stack, for the posterior mean of the three truths:

anscombe
    They see units of the noise by the generalised Anscombe transform, as the package.
one number
    Grey values over the noise of a voxel of mean brightness.
percentiles
    Grey values between the 1 % and the 99.9 % quantile of the stack, as most do.

The blind filter is fitted to every stack, by its noise as it is in all three, and the
noise is known. Results are kept in a
JSON file and continued; ``--budget`` stops after that many minutes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from _results import Kept, options, said, setting
from _truths import GAIN, OFFSET, READ_NOISE, Case, psnr
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.noise.likelihood import Affine
from napari_blindspot.normalize import fit_normalization
from napari_blindspot.pretraining.episodes import Episode, load_episodes
from napari_blindspot.pretraining.lessons import take_filter
from napari_blindspot.pretraining.recordings import Recording
from napari_blindspot.pretraining.shipping import KINDS
from napari_blindspot.pretraining.training import Plan, Pretraining
from napari_blindspot.starts.shipped import CONTEXT
from warmstart import PHOTONS, TRUTHS, box_of, record

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from typing import Literal

UNITS = ("anscombe", "one number", "percentiles")
_EPISODES, _RATE = 4, 1.5e-3  # as the shipped teacher
_CPU = torch.device("cpu")


def seen_in(units: str, episode: Episode) -> Episode:
    """Fit the start of an episode to what its network sees."""
    rng = np.random.default_rng(0)
    kind: Literal["scale", "noise"] = "scale" if units == "percentiles" else "noise"
    episode.start = episode.fit(rng, kind)
    if units == "one number":
        clean = torch.from_numpy(episode.recording.clean)
        level = episode.judged.variance(clean).mean().reshape(1, 1, 1)
        flat = Affine(torch.zeros_like(level), level, level)
        kernel = episode.start["start.kernel"]  # of the noise as it is
        again = episode.fit(np.random.default_rng(0), kind, flat)
        episode.start = {**again, "start.kernel": kernel}
    return episode


def episodes_in(units: str, seed: int, first: int, workers: int) -> Iterator[Episode]:
    """Make endless recordings that are seen in some units."""
    return (seen_in(units, one) for one in load_episodes(seed, first, workers))


def pretrained(units: str, args: argparse.Namespace, seed: int) -> BlindSpotNetwork:
    """Pretrain the network for a CPU."""
    torch.manual_seed(seed)
    kind = "scale" if units == "percentiles" else "noise"
    network = BlindSpotNetwork(KINDS["teacher-cpu"].model_copy(update={"units": kind}))
    network.wake()
    plan = Plan(args.steps, episodes=_EPISODES, crops=1, learning_rate=_RATE, seed=seed)
    training = Pretraining(network, plan, _CPU, partial(episodes_in, units))
    for _ in training.run():
        pass
    average = training.average
    assert isinstance(average, BlindSpotNetwork)
    return average


def answer(network: BlindSpotNetwork, case: Case, units: str) -> float:
    """Return the PSNR of the posterior mean of a recorded truth."""
    scale = fit_normalization(case.noisy)
    a = GAIN / scale.scale
    b = (GAIN * (scale.offset - OFFSET) + (GAIN * READ_NOISE) ** 2) / scale.scale**2
    floor = (GAIN * READ_NOISE / scale.scale) ** 2
    clean = scale.forward(OFFSET + GAIN * case.photons * case.truth)
    noisy = scale.forward(case.noisy)
    recording = Recording(clean, noisy, a, b, floor, 1.0, 1.0, (1, 1, 1), CONTEXT)
    episode = seen_in(units, Episode(recording, np.random.default_rng(0)))
    take_filter(network, episode)
    images = []
    for at in range(len(noisy)):
        planes = torch.from_numpy(episode.planes(at))[None]
        with torch.no_grad():
            prior = network(planes)
        mean, _ = episode.noise.posterior(
            planes[:, CONTEXT], prior.mean, prior.variance
        )
        images.append(mean[0].numpy())
    return psnr(case.unit(scale.inverse(np.stack(images))), case.truth)


def main() -> None:
    args = parse()
    torch.set_num_threads(1)
    made = setting(box=list(args.box), steps=args.steps)
    kept = Kept(args.out / f"start-units-{args.label}.json", made, args.budget)
    for seed in args.seeds:
        for units in UNITS:
            kept.measure(
                kept.part(str(seed)),
                units,
                lambda u=units, s=seed: measured(u, s, args),  # type: ignore[misc]
            )
    kept.write_page(page(kept.facts))


def measured(units: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Pretrain in some units and answer every case."""
    network = pretrained(units, args, seed)
    found = {}
    for name in TRUTHS:
        for photons in PHOTONS:
            case = record(box_of(name, tuple(args.box)), photons, 1)
            found[f"{name}/{photons:g}"] = answer(network, case, units)
    return found


def page(facts: Mapping[str, Any]) -> str:
    """Return the whole page as Markdown."""
    made = dict(facts["setting"])
    runs = {key: one for key, one in facts.items() if key != "setting"}
    names = [units for units in UNITS if all(units in one for one in runs.values())]
    lines = [
        "<!-- written by benchmarks/start_units.py -->",
        "",
        "PSNR in dB, range 1, without a step on the stack, of networks that were "
        f"pretrained for {made['steps']} steps and see the stack in other units; mean "
        f"over {len(runs)} seed(s) of pretraining.",
        "",
        "| truth | photons | " + " | ".join(names) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    cases = [f"{name}/{photons:g}" for name in TRUTHS for photons in PHOTONS]
    for case in cases:
        name, photons = case.split("/")
        cells = [_mean([one[units][case] for one in runs.values()]) for units in names]
        lines.append(f"| {name} | {photons} | " + " | ".join(cells) + " |")
    means = [
        _mean([one[units][case] for one in runs.values() for case in cases])
        for units in names
    ]
    lines.append("| mean | | " + " | ".join(means) + " |")
    box = "×".join(map(str, made["box"]))
    lines += ["", f"{said(made)}; boxes of {box} voxels, noise seed 1."]
    return "\n".join(lines) + "\n"


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.2f}"


def parse() -> argparse.Namespace:
    parser = options(__doc__, steps=3000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--box", nargs=3, type=int, default=[16, 160, 160])
    return parser.parse_args()


if __name__ == "__main__":
    main()
