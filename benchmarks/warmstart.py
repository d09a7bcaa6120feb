"""What start weights are worth: before the first step, after a few, and in the end.

Run ``python benchmarks/warmstart.py --out docs/benchmarks``. Parts (``--parts``):

curve
    The three truths at three light levels: PSNR after 0, 25, … steps from the shipped
    weights and from random ones, the network for a CPU (or with ``--device cuda`` that
    for a GPU); beside the best Gaussian filter and, at no step, the shipped students.
careamics
    Noise2Void of CAREamics on the same recordings, at its documented settings but for
    smaller patches and batches and a rate that stays longer, best over training
    length; with ``--careamics-python PATH``, the Python of an environment that has it.
sizes
    Networks that are larger than all start weights and grow from them, beside cold
    ones of the same size.
trust
    Things that were in no generated volume (text, rings, single lines), an empty field
    of a tenth of full light, and a dark one, which is pure noise of reading: the error
    of the warm and of the cold result.
photos
    Photographs of Set12 with Gaussian noise, each by itself, as microscopy stacks of
    one plane.

Results are kept in a JSON file and continued; ``--budget`` stops after that many
minutes. The truths of the curve are in no pretraining: volumes there are generated.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from skimage.draw import circle_perimeter, line
from skimage.io import imread

import napari_blindspot as nb
from _data import find_data
from _results import Kept, options, setting
from _truths import GAIN, OFFSET, READ_NOISE, Case, best_gaussian, load_truth, psnr
from _warmstart_table import page
from napari_blindspot.config.students import WIDTHS
from napari_blindspot.starts.shipped import read_index, weights_folder
from napari_blindspot.training.recipes import RECIPES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

TRUTHS = ("cells3d_nuclei", "mesospim_c5", "tribolium_lund")
PHOTONS = (5.0, 20.0, 80.0)
STARTS = ("warm", "cold")
FIELD = (12, 128, 128)
SIGMA = (25.0, 50.0)  # of 255, on photographs
SIZES = {
    "best on a CPU": RECIPES["cpu"]["best"].network,
    "fast on a GPU": RECIPES["gpu"]["fast"].network,
}


@dataclass(frozen=True, slots=True)
class How:
    """How every result of a run is made."""

    device: str
    threads: int
    seed: int

    def denoise(self, noisy: NDArray[Any], axes: str, **settings: Any) -> nb.Result:
        """Denoise an array."""
        return nb.denoise(
            noisy,
            axes=axes,
            device=self.device,
            threads=self.threads,
            seed=self.seed,
            **settings,
        )


def record(truth: NDArray[Any], photons: float, seed: int) -> Case:
    """Record a truth as a camera would, a box of it or all."""
    rng = np.random.default_rng(seed)
    y = rng.poisson(photons * truth) + rng.normal(0, READ_NOISE, truth.shape)
    grey = np.clip(np.round(GAIN * y + OFFSET), 0, 65535).astype(np.uint16)
    return Case("", photons, truth.astype(np.float32), grey)


def box_of(name: str, box: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the middle planes of a truth and a corner of them."""
    whole = load_truth(name).astype(np.float64)
    first = max(0, (len(whole) - box[0]) // 2)
    return whole[first : first + box[0], : box[1], : box[2]]


def after(case: Case, start: str, budget: dict[str, Any], how: How) -> dict[str, Any]:
    """Measure the result after a budget."""
    done = how.denoise(case.noisy, "ZYX", start=start, **budget)
    told = done.model.provenance
    return {
        "psnr": psnr(case.unit(np.asarray(done.image)), case.truth),
        "seconds": told["training"]["seconds"],
        "steps": told["training"]["steps"],
        "start": told["start"],
    }


def at_once(case: Case, size: str, how: How) -> float:
    """Measure a student that comes with the package, without any training."""
    student = nb.shipped_student(case.noisy, axes="ZYX", student=size)
    options: dict[str, Any] = {"device": how.device, "threads": how.threads}
    done = nb.predict(student, case.noisy, axes="ZYX", **options)
    return psnr(case.unit(np.asarray(done.image)), case.truth)


def curve(kept: Kept, args: argparse.Namespace) -> None:
    """Measure every truth, light level, start and number of steps."""
    for seed in args.seeds:
        how = How(args.device, args.threads, seed)
        for photons in args.photons:
            for name in args.truths:
                found = kept.part("curve").setdefault(f"{name}/{photons:g}/{seed}", {})
                case = record(box_of(name, tuple(args.box)), photons, 1 + seed)
                kept.measure(
                    found, "noisy", lambda c=case: psnr(c.unit(c.noisy), c.truth)
                )
                kept.measure(
                    found, "gaussian", lambda c=case: psnr(best_gaussian(c)[0], c.truth)
                )
                for size in WIDTHS:
                    kept.measure(
                        found,
                        f"student {size}",
                        lambda c=case, z=size, h=how: at_once(c, z, h),
                    )
                for start in STARTS:
                    for steps in args.steps:
                        kept.measure(
                            found,
                            f"{start} {steps}",
                            lambda c=case, s=start, n=steps, h=how: after(
                                c, s, {"steps": n}, h
                            ),
                        )
                    if args.final:
                        kept.measure(
                            found,
                            f"{start} fast",
                            lambda c=case, s=start, h=how: after(
                                c, s, {"quality": "fast"}, h
                            ),
                        )


def careamics(kept: Kept, args: argparse.Namespace) -> None:
    """Measure Noise2Void of CAREamics on the recordings of the curve."""
    if args.careamics_python is None:
        print("CAREamics is not available: give --careamics-python", flush=True)
        return
    for photons in args.photons:
        for name in args.truths:
            seed = args.seeds[0]
            found = kept.part("careamics").setdefault(f"{name}/{photons:g}/{seed}", {})
            case = record(box_of(name, tuple(args.box)), photons, 1 + seed)
            kept.measure(found, "noise2void", lambda c=case: peer(c, args))


def peer(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    """Train Noise2Void on a recording; PSNR and seconds along its training."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "noisy.npy")
        np.save(source, case.noisy)
        asked = {
            "source": str(source),
            "out": folder,
            "patch": [8, 64, 64],
            "batch": 2,
            "steps": args.peer_steps,
            "every": max(1, args.peer_steps // 10),
            "seed": args.seeds[0] + 1,  # 0 is refused
            "threads": args.threads,
        }
        script = Path(__file__).with_name("_warmstart_careamics.py")
        words = [str(args.careamics_python), str(script), json.dumps(asked)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        facts["psnr"] = {
            steps: psnr(case.unit(np.load(Path(folder, f"{steps}.npy"))), case.truth)
            for steps in facts["seconds"]
        }
    return facts


def sizes(kept: Kept, args: argparse.Namespace) -> None:
    """Measure networks that grow from the start weights, on small crops."""
    how = How(args.device, args.threads, args.seeds[0])
    for name in args.truths:
        case = record(box_of(name, tuple(args.box)), 20.0, 1 + how.seed)
        for size, network in SIZES.items():
            found = kept.part("sizes").setdefault(f"{size}/{name}", {})
            recipe = RECIPES["cpu"]["fast"].model_copy(
                update={"network": network, "learning_rate": 2e-3}
            )
            kind = RECIPES["cpu" if args.device == "cpu" else "gpu"]
            with patch.dict(kind, dict.fromkeys(kind, recipe)):
                for start in STARTS:
                    for steps in args.size_steps:
                        kept.measure(
                            found,
                            f"{start} {steps}",
                            lambda c=case, s=start, n=steps: after(
                                c, s, {"steps": n}, how
                            ),
                        )


def fields() -> dict[str, NDArray[np.float64]]:
    """Return clean volumes of things that no generated volume holds."""
    shape, empty = FIELD, np.full(FIELD, 0.1)
    rings, lines, text = (empty.copy() for _ in range(3))
    for y, x, radius in ((30, 30, 9), (64, 90, 17), (95, 40, 25), (20, 100, 5)):
        rows, columns = circle_perimeter(y, x, radius, shape=shape[1:])
        rings[:, rows, columns] = 1.0
    for ends in (
        (5, 5, 120, 60),
        (10, 120, 118, 8),
        (64, 0, 64, 127),
        (3, 90, 125, 93),
    ):
        lines[:, *line(*ends)] = 1.0
    glyphs = np.array([[int(c) for c in row] for row in _GLYPHS.split()], float)
    tall = np.kron(glyphs, np.ones((2, 2)))
    for top in range(8, 110, 24):
        text[:, top : top + tall.shape[0], 6 : 6 + tall.shape[1]] += 0.9 * tall
    dark = np.zeros(FIELD)
    return {"text": text, "rings": rings, "lines": lines, "empty": empty, "dark": dark}


_GLYPHS = """
10001011100100010011100011110010001010001011100
10001010000100010100010010000011001010001010010
10101011100100010100010011110010101011111010010
10101010000100010100010010000010011010001010010
01010011100111011001110010000010001010001011100
"""


def trust(kept: Kept, args: argparse.Namespace) -> None:
    """Measure warm and cold on things that were in no generated volume."""
    how = How(args.device, args.threads, args.seeds[0])
    for name, truth in fields().items():
        for photons in (5.0, 20.0):
            found = kept.part("trust").setdefault(f"{name}/{photons:g}", {})
            case = record(truth, photons, 1)
            measures: dict[str, Callable[[], Any]] = {
                "gaussian": lambda c=case: psnr(best_gaussian(c)[0], c.truth)
            }
            for start, steps in (("warm", 0), ("warm", 300), ("cold", 300)):
                measures[f"{start} {steps}"] = lambda c=case, s=start, n=steps: after(
                    c, s, {"steps": n}, how
                )
            for label, measured in measures.items():
                kept.measure(found, label, measured)


def photos(kept: Kept, args: argparse.Namespace) -> None:
    """Measure photographs one by one, as stacks of a single plane."""
    how = How(args.device, args.threads, args.seeds[0])
    folder = find_data() / "2d" / "Set12"
    for path in sorted(folder.glob("*.png"))[:: args.every]:
        truth = imread(path, as_gray=True).astype(np.float64)
        truth = truth / (1 if truth.max() <= 1 else 255)
        for sigma in SIGMA:
            found = kept.part("photos").setdefault(f"{path.stem}/{sigma:g}", {})
            rng = np.random.default_rng(1)
            noisy = (truth + rng.normal(0, sigma / 255, truth.shape)).astype(np.float32)
            for start, steps in (("warm", 0), ("warm", 200), ("cold", 200)):

                def measured(s: str = start, n: int = steps, y: Any = noisy) -> float:
                    done = how.denoise(y, "YX", start=s, steps=n, noise="gaussian")
                    return psnr(np.asarray(done.image), truth)  # noqa: B023

                kept.measure(found, f"{start} {steps}", measured)


PARTS = {
    "curve": curve,
    "careamics": careamics,
    "sizes": sizes,
    "trust": trust,
    "photos": photos,
}


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    weights = {one.name: one.sha256[:12] for one in read_index(weights_folder())}
    made = setting(
        args.device, box=list(args.box), threads=args.threads, weights=weights
    )
    kept = Kept(args.out / f"warmstart-{args.label}.json", made, args.budget)
    for part in args.parts:
        PARTS[part](kept, args)
    kept.write_page(page(kept.facts))


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--truths", nargs="+", choices=TRUTHS, default=list(TRUTHS))
    parser.add_argument("--photons", nargs="+", type=float, default=list(PHOTONS))
    parser.add_argument(
        "--steps", nargs="*", type=int, default=[0, 25, 50, 100, 200, 400, 800]
    )
    parser.add_argument(
        "--size-steps", nargs="+", type=int, default=[0, 100, 300], help="of sizes"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--box", nargs=3, type=int, default=[24, 160, 160])
    parser.add_argument("--final", action="store_true", help="also --quality fast")
    parser.add_argument("--every", type=int, default=3, help="photographs")
    parser.add_argument(
        "--careamics-python", type=Path, help="Python of an environment that has it"
    )
    parser.add_argument("--peer-steps", type=int, default=490, help="of CAREamics")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
