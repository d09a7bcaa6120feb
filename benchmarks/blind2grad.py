"""Blind2Grad on single images and on volumes, its settings, and how it learns.

Run ``python benchmarks/blind2grad.py --out docs/benchmarks``. Parts (``--parts``):

``ablation``  the settings that the paper varies, on six images of Set12 (``--limit``),
              the form of the loss first (``--groups``)
``photos``    every image by itself with Gaussian noise: Set12, every fourth of BSD68
              (``--all``: all), generated text, colour images of scikit-image, and the
              user's own sets by folder name; beside the default method, BM3D where it
              is installed, ZS-N2N and Noise2Self
``stacks``    Poisson noise on a volume, both readings of its strength, plane by plane
              and with neighbour planes
``course``    quality and losses against steps
``profile``   gradients along a line of text
``real``      the photographs of SIDD, where the user has them, with ``variant real``
``batch``     whether several networks train faster as one batch

Results are kept in a JSON file and continued: what is in it is not run again;
``--budget`` stops after that many minutes. All training is on one thread, and seconds
are those of the CPU, which do not count what else the machine does.
"""

from __future__ import annotations

from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import _blind2grad_batch as batch
import _blind2grad_course as course
import _blind2grad_stacks as stacks
from _blind2grad_ablation import GROUPS, name_of
from _blind2grad_images import SETS, USERS, scored, shots
from _blind2grad_table import page
from _data import find_data
from _photo_sets import NotAvailableError, list_set
from _results import Kept, options, setting
from _single_image import bm3d, noise2self, ours, zero_shot_noise2noise
from photographs import scored as scored_real

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from _blind2grad_images import Shot
    from _single_image import Answer

SIGMAS = (25.0, 50.0, 75.0, 100.0)
METHODS = (
    "noisy", "blind2grad", "blind2grad joint", "bayesian", "bayesian cold",
    "noise2self", "zs-n2n", "bm3d",
)  # fmt: skip
_ABLATED = 6  # images of Set12
_COURSED = "Set12"
_REAL_SIDE = 256


def main(words: list[str] | None = None) -> None:
    args = parse(words)
    torch.set_num_threads(1)
    made = setting(
        seed="noise (0, σ, number) and 1, training 0",
        steps=args.steps,
        seconds=args.seconds,
    )
    kept = Kept(
        args.out / f"blind2grad-{args.label}.json", made, args.budget, any_day=True
    )
    for part in args.parts:
        PARTS[part](kept, args)
    kept.write_page(page(kept.facts, missing()))


def missing() -> list[str]:
    """Name what is not on this machine: sets of the user, and BM3D."""
    folder = find_data() / "2d"
    sets = [name for name in (*USERS, "SIDD") if not (folder / name).is_dir()]
    return sets + [name for name in ("bm3d", "bm4d") if find_spec(name) is None]


def ablation(kept: Kept, args: argparse.Namespace) -> None:
    """Measure every setting of every group on the same images."""
    for sigma in args.sigmas or SIGMAS[:1]:
        for group in args.groups:
            limit = args.limit or _ABLATED
            for shot in shots("Set12", sigma, limit, whole=True):
                for settings in GROUPS[group]:
                    measured = partial(masked, shot, args.steps, settings)
                    kept.measure(images(kept, shot), name_of(settings), measured)


def photos(kept: Kept, args: argparse.Namespace) -> None:
    """Measure every method on every image by itself."""
    for sigma in args.sigmas or SIGMAS:
        for name in args.sets:
            for shot in shots(name, sigma, args.limit, whole=args.all):
                for method in args.methods:
                    if method == "bm3d" and find_spec("bm3d") is None:
                        continue
                    if method == "blind2grad joint" and len(shot.photo.noisy) == 1:
                        continue
                    row = name_of({}) if method == "blind2grad" else method
                    measured = partial(measure, shot, method, args)
                    kept.measure(images(kept, shot), row, measured)


def images(kept: Kept, shot: Shot) -> dict[str, Any]:
    """Return what is known of an image."""
    found: dict[str, Any] = kept.part("images").setdefault(shot.label, {})
    return found


def masked(shot: Shot, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Score Blind2Grad with some settings."""
    return judged(shot, ours(shot.photo, method="blind2grad", steps=steps, **settings))


def measure(shot: Shot, method: str, args: argparse.Namespace) -> dict[str, Any]:
    """Score one method."""
    answers: dict[str, Callable[[], Answer | None]] = {
        "noisy": lambda: (shot.photo.noisy, {}),
        "blind2grad": lambda: ours(shot.photo, method="blind2grad", steps=args.steps),
        "blind2grad joint": lambda: ours(
            shot.photo, method="blind2grad", channels="joint", steps=args.steps
        ),
        "bayesian": lambda: ours(shot.photo, steps=args.steps),
        "bayesian cold": lambda: ours(shot.photo, steps=args.steps, start="cold"),
        "noise2self": lambda: noise2self(shot.photo, args.seconds),
        "zs-n2n": lambda: zero_shot_noise2noise(shot.photo, args.seconds),
        "bm3d": lambda: bm3d(shot.photo),
    }
    answer = answers[method]()
    assert answer is not None
    return judged(shot, answer)


def judged(shot: Shot, answer: Answer) -> dict[str, Any]:
    image, facts = answer
    return scored(image, shot.clean) | facts


def volumes(kept: Kept, args: argparse.Namespace) -> None:
    """Measure every method on the volume, in both readings of λ."""
    for reading in stacks.READINGS:
        for strength in stacks.STRENGTHS:
            make = cache(partial(stacks.make_counts, reading, strength, args.planes))
            label = f"{args.planes}/{reading}/{strength}"
            found = kept.part("stacks").setdefault(label, {})
            for name in stacks.METHODS:
                if args.stack_methods and name not in args.stack_methods:
                    continue
                if name in stacks.PACKAGES and find_spec(name) is None:
                    continue
                measured = partial(on_stack, make, name, args)
                kept.measure(found, name, measured)


def on_stack(
    make: Callable[[], stacks.Counts], name: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Measure one method on a volume."""
    return stacks.METHODS[name](make(), args.steps, args.seconds)


def courses(kept: Kept, args: argparse.Namespace) -> None:
    """Train the first image of Set12 for several lengths."""
    for sigma in args.sigmas or SIGMAS[:1]:
        for shot in shots(_COURSED, sigma, 1, whole=True):
            found = kept.part("course").setdefault(f"{shot.label} {name_of({})}", {})
            for steps in course.LENGTHS:
                measured = partial(course.at_length, shot, steps)
                kept.measure(found, str(steps), measured)


def line(kept: Kept, args: argparse.Namespace) -> None:
    """Draw gradients along a line of text."""
    picture = kept.path.with_suffix(".png")
    forms = tuple(one["loss_form"] for one in GROUPS["loss form"])
    measured = partial(course.profile, picture, args.steps, forms)
    kept.measure(kept.part("profile"), "text", measured)


def real(kept: Kept, args: argparse.Namespace) -> None:
    """Measure photographs of SIDD, where the user has them."""
    try:
        listed = list_set("SIDD", None)
    except NotAvailableError as reason:
        print(f"SIDD is not available: {reason}", flush=True)
        return
    for name, read in list(listed.items())[: args.limit or 1]:
        kept.measure(kept.part("real"), name, partial(on_real, read, args.steps))


def on_real(read: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Denoise the middle of a photograph, colour by colour, and score it."""
    import napari_blindspot as nb

    shot = read().middle(_REAL_SIDE)
    done = nb.denoise(
        np.moveaxis(shot.noisy, -1, 1), axes="TCYX", context="none", steps=steps,
        method="blind2grad", variant="real", threads=1, seed=0,
    )  # fmt: skip
    image = np.moveaxis(np.asarray(done.image), 1, -1)
    return {"noisy": scored_real(shot.noisy, shot), "real": scored_real(image, shot)}


def batches(kept: Kept, args: argparse.Namespace) -> None:
    """Time several networks as one batch."""
    del args
    for count in batch.COUNTS:
        measured = partial(batch.measure, count)
        kept.measure(kept.part("batch"), str(count), measured)


PARTS = {
    "ablation": ablation,
    "photos": photos,
    "stacks": volumes,
    "course": courses,
    "profile": line,
    "real": real,
    "batch": batches,
}


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = options(__doc__, steps=1000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--seconds", type=float, default=30, help="of ZS-N2N, Noise2Self and N2V"
    )
    parser.add_argument("--limit", type=int, help="images of each set")
    parser.add_argument("--sigmas", nargs="+", type=float, help="8-bit grey values")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--all", action="store_true", help="all images of BSD68")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="of photos"
    )
    parser.add_argument("--planes", type=int, default=32, help="of the volume")
    parser.add_argument(
        "--stack-methods", nargs="+", choices=stacks.METHODS, help="of stacks"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
