"""Students: how near to their teacher, how fast, and what several teachers are worth.

Run ``python benchmarks/students.py --out docs/benchmarks``. Parts (``--parts``):

``white``     camera noise, 20 photons: every size of student beside its own teacher
``ablation``  noise that neighbours share: teachers at several holes, taught as the sum
              of L1 distances and as the distance to their mean; their plain average
``cost``      parameters and multiply–adds per pixel of every network

Results are kept in a JSON file and continued; ``--budget`` stops after that many
minutes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import napari_blindspot as nb
from _noise_posterior import TRUTHS, case
from _results import Kept, options, said, setting
from _truths import GAIN, Case, psnr
from correlated import KINDS, PHOTONS, record, truth_of
from napari_blindspot.config import DistillSettings, NetworkSettings
from napari_blindspot.config.students import WIDTHS, student_recipe
from napari_blindspot.networks.blindspot import BlindSpotNetwork
from napari_blindspot.progress import run
from napari_blindspot.training.distilling import holes_of, make_lessons, make_student
from napari_blindspot.training.recipes import RECIPES
from napari_blindspot.training.teaching import Lessons, teach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_SIDE = 512  # px of the plane whose multiply–adds are counted
WHITE_PHOTONS = 20.0


def white(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name every truth."""
    for name in TRUTHS:
        yield name, partial(students_of, name, steps)


def students_of(name: str, steps: int) -> dict[str, Any]:
    """Train a teacher, and distil all sizes of students from it."""
    noisy, grey = case(name, WHITE_PHOTONS)
    teacher = nb.train(noisy, axes="ZYX", steps=steps, threads=1, seed=0)
    found = {"teacher": scored(teacher, noisy, grey)}
    for size in WIDTHS:
        student = nb.distill(
            teacher, noisy, axes="ZYX", student=size, threads=1, seed=0
        )
        found[size] = scored(student, noisy, grey)
    return found


def scored(
    model: nb.Model, noisy: NDArray[np.uint16], grey: NDArray[np.float64]
) -> dict[str, Any]:
    """Return PSNR, the time to teach, and voxels per second of the full run."""
    unit = GAIN * WHITE_PHOTONS
    result = nb.predict(model, noisy, axes="ZYX", threads=1)
    taught = model.provenance.get("distillation", {})
    return {
        "psnr": psnr(np.asarray(result.image) / unit, grey / unit),
        "voxels_per_second": result.metrics["voxels_per_second"],
        "seconds": taught.get("seconds"),
        "steps": taught.get("steps"),
    }


def ablation(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name every truth."""
    for name in ("phantom", "cells3d_nuclei"):
        yield name, partial(several_teachers, name, steps)


def several_teachers(name: str, steps: int) -> dict[str, Any]:
    """Compare what several holes of one teacher are worth."""
    kind = KINDS["3×3 binomial"]
    truth = truth_of(name)
    noisy = record(truth, kind)
    one = Case(name, PHOTONS, truth.astype(np.float32), noisy)

    def score(image: NDArray[Any]) -> float:
        return psnr(one.unit(image), one.truth)

    def answer(model: nb.Model, **more: Any) -> NDArray[np.float32]:
        image = nb.predict(model, noisy, axes="ZYX", threads=1, **more).image
        return np.asarray(image)

    teacher = nb.train(
        noisy, axes="ZYX", method="atbsn", steps=steps, threads=1, seed=0
    )
    holes = [hole for hole in holes_of(teacher) if min(hole) > 0]
    images = {hole: answer(teacher, hole=hole) for hole in holes}
    found = {
        "noisy": score(noisy),
        "teacher": {" ".join(map(str, h)): score(i) for h, i in images.items()},
        "ensemble": score(np.mean(list(images.values()), axis=0)),
    }
    settings = DistillSettings(student="small", axes="ZYX", threads=1, seed=0)
    recipe, device = student_recipe("cpu"), torch.device("cpu")
    stack = nb.open_stack(noisy, axes="ZYX")
    lessons, kept_back = run(
        make_lessons(teacher, stack, settings, recipe, device, nb.CancelToken())
    )
    for name_of, parts in (
        ("several teachers", (lessons, kept_back)),
        ("mean teacher", (of_the_mean(lessons), of_the_mean(kept_back))),
    ):
        torch.manual_seed(0)
        taught = run(
            teach(
                make_student(teacher.teacher, "small"),
                *parts,
                recipe,
                device=device,
                seed=0,
                cancel=nb.CancelToken(),
            )
        )
        model = replace(teacher, network=taught.network, hole=None, recalibration=())
        found[name_of] = score(answer(model))
    return found


def of_the_mean(lessons: Lessons) -> Lessons:
    """Put the mean of all teachers in their place."""
    return replace(lessons, teachers=lessons.teachers.mean(0, keepdim=True))


def cost(steps: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name every network of the recipes and its students."""
    del steps
    networks: dict[str, NetworkSettings] = {}
    for kind, recipes in RECIPES.items():
        for quality, recipe in recipes.items():
            networks[f"{kind}, {quality}"] = recipe.network
    for name, settings in networks.items():
        teacher = BlindSpotNetwork(settings)
        yield f"teacher {name}", partial(counted, teacher, settings.context)
    largest = BlindSpotNetwork(networks["gpu, balanced"])
    for size in WIDTHS:
        student = make_student(largest, size)
        yield f"student {size}", partial(counted, student, 2)


def counted(network: torch.nn.Module, context: int) -> dict[str, float]:
    """Count parameters, and multiply–adds for one plane of 512×512 pixels."""
    planes = torch.zeros(1, 2 * context + 1, _SIDE, _SIDE)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network.eval()(planes)
    macs = flops.get_total_flops() / 2
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "gmac_512": macs / 1e9,
        "mac_per_pixel": macs / _SIDE**2,
    }


PARTS = {"white": white, "ablation": ablation, "cost": cost}


def main() -> None:
    parser = options(__doc__, steps=1000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--truths", nargs="+", choices=TRUTHS, default=list(TRUTHS), help="of white"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = setting(seed="noise 1 and 3, training 0", steps=args.steps)
    kept = Kept(args.out / f"students-{args.label}.json", made, args.budget)
    for part in args.parts:
        for key, measured in PARTS[part](args.steps):
            if part == "white" and key not in args.truths:
                continue
            kept.measure(kept.part(part), key, measured)
    kept.write_page(page(kept.facts))


def page(results: dict[str, Any]) -> str:
    """Write the tables of whatever has been measured."""
    lines = ["<!-- written by benchmarks/students.py -->"]
    for part, write in (
        ("white", _white_rows),
        ("ablation", _ablation_rows),
        ("cost", _cost_rows),
    ):
        if results.get(part):
            lines += ["", *write(results[part])]
    lines += ["", f"{said(results['setting'])}."]
    return "\n".join(lines) + "\n"


def _white_rows(found: dict[str, Any]) -> list[str]:
    lines = [
        "White noise, 20 photons: PSNR in dB (difference to its own teacher), seconds "
        "to teach, Mvoxel/s of the full run.",
        "",
        "| truth | teacher | tiny | small | full |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        teacher = one["teacher"]
        cells = [f"{teacher['psnr']:.2f}, {_speed(teacher)}"]
        for size in WIDTHS:
            student = one[size]
            gap = student["psnr"] - teacher["psnr"]
            cells.append(
                f"{student['psnr']:.2f} ({gap:+.2f}), {student['seconds']:.0f} s, "
                f"{_speed(student)}"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _speed(one: dict[str, Any]) -> str:
    return f"{one['voxels_per_second'] / 1e6:.2f} Mvoxel/s"


def _ablation_rows(found: dict[str, Any]) -> list[str]:
    lines = [
        "Noise that neighbours share (3×3 binomial), method `atbsn`, small student: "
        "PSNR in dB.",
        "",
        "| truth | noisy | teacher behind each hole | average of the teachers | "
        "mean teacher | several teachers |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        each = ", ".join(f"{hole}: {v:.2f}" for hole, v in one["teacher"].items())
        rest = (one[key] for key in ("ensemble", "mean teacher", "several teachers"))
        numbers = " | ".join(f"{value:.2f}" for value in rest)
        lines.append(f"| {name} | {one['noisy']:.2f} | {each} | {numbers} |")
    return lines


def _cost_rows(found: dict[str, Any]) -> list[str]:
    return [
        "| network | parameters | GMAC for 512×512 | MAC per pixel |",
        "|---|---|---|---|",
        *(
            f"| {name} | {one['parameters'] / 1e6:.3f} M | {one['gmac_512']:.2f} | "
            f"{one['mac_per_pixel']:.0f} |"
            for name, one in found.items()
        ),
        "| AT-BSN and its student (Chen et al.) | 1.27 M, 1.02 M | 330.5, 48.9 | |",
    ]


if __name__ == "__main__":
    main()
