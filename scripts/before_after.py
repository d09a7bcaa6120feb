"""Denoise real stacks with the shell command, and show them before and after.

Writes one picture per stack into ``--out`` and a page with the facts to ``--page``.
Results go to ``--work``, or to a temporary folder that is removed at the end. With
``--draw-only`` the results in ``--work`` are drawn anew without training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.api import describe
from napari_blindspot.io import open_stack, uncertainty_path
from napari_blindspot.reporting.pictures import before_after, compare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

    from napari_blindspot.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
SIDE = 120
MAX_BYTES = 250_000


@dataclass(frozen=True)
class Case:
    """A real stack and the part of it that is shown.

    Parameters
    ----------
    name
        File under ``3d/``, without ``.ome.tif``.
    what, credit
        What it shows and whose it is, for the page.
    plane
        Time point, channel and plane to show.
    corner
        First row and column of the square that is shown.
    suffixes
        Formats to write.
    """

    name: str
    what: str
    credit: str
    plane: Mapping[str, int]
    corner: tuple[int, int]
    suffixes: tuple[str, ...] = (".ome.zarr",)

    @property
    def part(self) -> dict[str, slice | int]:
        """The region to show, of every channel."""
        rows, columns = (slice(start, start + SIDE) for start in self.corner)
        return {**self.plane, "Y": rows, "X": columns}


CASES = (
    Case(
        "llsm_cell_raw",
        "Vesicles of a cell, raw lattice light sheet",
        "T. Lambert, pycudadecon (MIT)",
        {"Z": 20},
        (195, 90),
        (".ome.zarr", ".ome.tif"),
    ),
    Case(
        "ecoli_3d_t",
        "E. coli over time: nucleoid (channel 0) and origin of replication (channel 1)",
        "G. Witz, microfilm (BSD-3-Clause)",
        {"T": 1, "Z": 5},
        (50, 25),
    ),
    Case(
        "calcium_2p_movie",
        "Two-photon calcium movie; the frames before and after help. After so short a "
        "training they also smooth the flicker of whole frames, so that the mean of a "
        "frame moves towards that of its neighbours",
        "DataJoint, anscombe-transform (MIT)",
        {"T": 20},
        (30, 20),
    ),
    Case(
        "cells3d_nuclei",
        "Nuclei of stem cells, spinning disk; nearly clean",
        "Allen Institute for Cell Science, by way of scikit-image (public domain)",
        {"Z": 30},
        (110, 90),
    ),
    Case(
        "tribolium_lund",
        "Nuclei of a Tribolium embryo, light sheet; nearly clean. The stack was "
        "resampled, so neighbouring planes share what noise there is and announce it "
        "to the network: it stays in the image, the uncertainty is too small, and the "
        "run says so and withholds its expected PSNR",
        "D. Vorkel, Myers lab, MPI-CBG, napari-pyclesperanto-assistant (BSD-3-Clause)",
        {"Z": 50},
        (30, 60),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What came out for one stack.

    Parameters
    ----------
    case, stack
        What was denoised.
    metrics
        The line of JSON that the shell command printed.
    provenance
        What the result file says about itself.
    drift_percent
        Largest change of a plane's mean, in percent of that mean.
    picture
        The PNG.
    """

    case: Case
    stack: Stack
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    drift_percent: float
    picture: Path = field(repr=False)


def main() -> int:
    """Denoise, draw, and write the page."""
    arguments = _arguments()
    chosen = [case for case in CASES if case.name in arguments.only]
    missing = [case.name for case in chosen if not _input(case, arguments).is_file()]
    if missing:
        print(
            f"No {', '.join(missing)} in {arguments.data}; point --data to the folder "
            f"whose subfolder 3d holds NAME.ome.tif, or name other stacks with --only.",
            file=sys.stderr,
        )
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        outcomes = [_treat(case, work, arguments) for case in chosen]
    if arguments.page:
        arguments.page.write_text(_page(outcomes, arguments.page), encoding="utf-8")
        print(arguments.page)
    return 0


def _arguments() -> argparse.Namespace:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from _data import find_data

    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of stacks [BLINDSPOT_DATA]")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--page", type=Path, help="page of facts to write")
    parser.add_argument("--work", type=Path, help="keep the results in this folder")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--draw-only", action="store_true", help="use what --work has")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=1.5)
    budget.add_argument("--quality", choices=("fast", "balanced", "best"))
    arguments = parser.parse_args()
    if arguments.draw_only and arguments.work is None:
        parser.error("--draw-only draws the results of an earlier run; add its --work")
    try:
        arguments.data = arguments.data or find_data()
    except FileNotFoundError as error:
        parser.error(str(error))
    return arguments


def _input(case: Case, arguments: argparse.Namespace) -> Path:
    path: Path = arguments.data / "3d" / f"{case.name}.ome.tif"
    return path


def _treat(case: Case, work: Path, arguments: argparse.Namespace) -> Outcome:
    """Denoise one stack into every format, and draw the first of them."""
    source = _input(case, arguments)
    outputs = [work / f"{case.name}{suffix}" for suffix in case.suffixes]
    if not arguments.draw_only:
        for output in outputs:
            _denoise(source, output, arguments)
    stack, provenance = open_stack(source), describe(outputs[0])["provenance"]
    drift = max(_drift_percent(stack, open_stack(output)) for output in outputs)
    picture = _draw(case, stack, outputs[0], arguments.out)
    print(f"{picture}: plane means change by at most {drift:.2f} %", flush=True)
    metrics = json.loads(_report_file(outputs[0]).read_text(encoding="utf-8"))
    return Outcome(case, stack, metrics, provenance, drift, picture)


def _denoise(source: Path, output: Path, arguments: argparse.Namespace) -> None:
    """Run the shell command and keep the line of JSON that it prints."""
    budget = (
        ["--quality", arguments.quality]
        if arguments.quality
        else ["--minutes", str(arguments.minutes)]
    )
    command = [
        *(sys.executable, "-m", "napari_blindspot", "denoise", source, output),
        *budget,
        *("--uncertainty", "--overwrite", "--json"),
    ]
    print(" ".join(str(part) for part in command[2:]), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)  # the command has said why
    _report_file(output).write_text(done.stdout, encoding="utf-8")


def _report_file(output: Path) -> Path:
    return output.with_name(f"{output.name}.json")


def _drift_percent(before: Stack, after: Stack) -> float:
    """Return the largest change of a plane's mean, in percent of the mean."""
    means = [
        np.asarray(stack.data.mean(axis=(-2, -1), dtype=np.float64))
        for stack in (before, after)
    ]
    return float(np.max(np.abs(means[1] - means[0]) / np.abs(means[0]))) * 100.0


def _draw(case: Case, stack: Stack, output: Path, folder: Path) -> Path:
    stds = open_stack(uncertainty_path(output))
    crops = [one.read(case.part) for one in (stack, open_stack(output), stds)]
    if "C" not in stack.axes:
        rows = [_row(crops, stack, "")]
    else:
        rows = [
            _row([crop[channel] for crop in crops], stack, f"channel {channel}:")
            for channel in range(stack.sizes["C"])
        ]
    path = before_after(folder / f"{case.name}.png", *rows)
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(
            f"{path} is larger than {MAX_BYTES} bytes; show a smaller SIDE"
        )
    return path


def _row(crops: list[Any], stack: Stack, title: str) -> Image:
    noisy, denoised, std = crops
    return compare(
        noisy,
        denoised,
        uncertainty=std,
        pixel_size_um=stack.voxel_size.x,
        title=title,
    )


def _page(outcomes: list[Outcome], page: Path) -> str:
    """Return the page: a table of facts, how it was made, and the pictures."""
    head = (
        "stack | axes, shape, dtype | train | predict | gain | expected PSNR | "
        "plane means kept within"
    )
    lines = ["# Real stacks", "", _how(outcomes), "", f"| {head} |"]
    lines += ["|" + "---|" * (head.count("|") + 1), *map(_table_row, outcomes), ""]
    lines += [_footnotes(), ""]
    for outcome in outcomes:
        shown = ", ".join(f"{k}={v}" for k, v in outcome.case.plane.items())
        where = os.path.relpath(outcome.picture, page.resolve().parent)
        lines += [f"## {outcome.case.name}", "", f"{outcome.case.what}."]
        lines += ["", f"Shown: {shown}. Data: {outcome.case.credit}.", ""]
        lines += [f"![{outcome.case.name}: before and after]({where})", ""]
    return "\n".join(lines).rstrip() + "\n"


def _how(outcomes: list[Outcome]) -> str:
    """Say who made the numbers, with what and when."""
    facts = outcomes[0].provenance
    settings = facts["settings"]
    quality, minutes = settings["quality"], settings["minutes"]
    budget = f"`--quality {quality}`" if quality else f"`--minutes {minutes:g}`"
    threads = facts["model"]["training"]["threads"]
    formats = sorted({s for outcome in outcomes for s in outcome.case.suffixes})
    return (
        f"Each stack was denoised by the shell command with {budget} and "
        f"`--uncertainty`, into {' and '.join(formats)}, and read back. There is no "
        f"clean truth for these stacks. Made by `scripts/before_after.py` on "
        f"{facts['created'][:10]}: {outcomes[0].metrics['device']}, {threads} "
        f"thread{'s' if threads > 1 else ''}, {platform.system()} "
        f"{platform.machine()}; napari-blindspot {facts['version']}, torch "
        f"{facts['torch']}, Python {facts['python']}, seed {settings['seed']}."
    )


def _table_row(outcome: Outcome) -> str:
    stack, metrics = outcome.stack, outcome.metrics
    shape = "×".join(str(n) for n in stack.shape)
    noise = metrics["noise"] if isinstance(metrics["noise"], list) else None
    gains = ", ".join(f"{one['gain']:.3g}" for one in noise or [metrics["noise"]])
    psnr = metrics["expected_psnr"]
    cells = (
        outcome.case.name,
        f"{stack.axes} {shape}, {stack.dtype}",
        f"{metrics['seconds_train']:.0f} s ({metrics['steps_train']} steps)",
        f"{metrics['seconds_predict']:.0f} s",
        gains,
        "unknown" if psnr is None else f"{psnr:.1f} dB",
        f"{outcome.drift_percent:.2f} %",
    )
    return f"| {' | '.join(cells)} |"


def _footnotes() -> str:
    return (
        "The gain, in grey values per photo-electron, is estimated from the stack, one "
        "per channel. The expected PSNR is what the run says of itself, over the range "
        "from the 1st to the 99.9th percentile of the result. The last column compares "
        "the mean of every plane before and after. In the pictures, noisy and denoised "
        "share their contrast limits; the uncertainty runs from 0 to its own brightest "
        "value, and one pixel of the stack is drawn as 3×3."
    )


if __name__ == "__main__":
    sys.exit(main())
