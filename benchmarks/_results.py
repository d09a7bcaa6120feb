"""Figures that are kept in a JSON file and continued, with where they were made.

What every script of this folder shares: its options, the setting that its figures
belong to, and the rule that what is in the file is not measured again.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import napari_blindspot as nb
from napari_blindspot.device import describe_device

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN = 300  # characters of a figure, on the terminal


def options(description: str | None, **steps: int) -> argparse.ArgumentParser:
    """Return a parser of the options that all scripts have.

    Parameters
    ----------
    description
        Docstring of the script.
    **steps
        Default of ``--steps``, where a script trains for steps.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--label", default="cpu", help="name of this set of results")
    for name, default in steps.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, help="of every training"
        )
    parser.add_argument("--budget", type=float, default=1e9, help="minutes in all")
    return parser


def setting(device: str = "cpu", **more: Any) -> dict[str, Any]:
    """Say where and how figures are made."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": describe_device(device).name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "napari_blindspot": nb.__version__,
        **more,
    }


def said(made: dict[str, Any], threads: str = "one thread") -> str:
    """Write the part of a setting that every table ends with, without a full stop."""
    line = (
        f"{made['date']}, {made['device']}, {threads}, torch {made['torch']}, Python "
        f"{made['python']}, napari-blindspot {made['napari_blindspot']}"
    )
    seeds = f", seeds: {made['seed']}" if "seed" in made else ""
    steps = f", {made['steps']} steps of every training" if "steps" in made else ""
    return line + seeds + steps


class Kept:
    """Figures in a file, all made in one setting.

    Parameters
    ----------
    path
        JSON file; it may hold figures already.
    made
        The setting of this run.
    minutes
        Budget; nothing new is begun beyond it.
    any_day
        Whether figures of another day may be continued.

    Raises
    ------
    SystemExit
        If the file was made in another setting.
    """

    def __init__(
        self,
        path: Path,
        made: dict[str, Any],
        minutes: float,
        *,
        any_day: bool = False,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.facts: dict[str, Any] = (
            json.loads(path.read_text()) if path.exists() else {}
        )
        began = self.facts.setdefault("setting", made)
        same = {**began, "date": made["date"]} == made if any_day else began == made
        if not same:
            when = "" if any_day else " or on another day"
            raise SystemExit(
                f"{path} was made with other settings{when}; give another --label, or "
                f"remove it to begin anew."
            )
        self._end = time.monotonic() + 60 * minutes

    def part(self, name: str) -> dict[str, Any]:
        """Return a group of figures, empty at first."""
        found: dict[str, Any] = self.facts.setdefault(name, {})
        return found

    def measure(
        self, found: dict[str, Any], key: str, measured: Callable[[], Any]
    ) -> None:
        """Measure what is not in a group yet, while the budget lasts, and write it."""
        if key in found or time.monotonic() > self._end:
            return
        found[key] = measured()
        self.path.write_text(json.dumps(self.facts, indent=1))
        print(key, json.dumps(found[key])[:_SHOWN], flush=True)

    def write_page(self, text: str) -> None:
        """Write the Markdown page that stands beside the file."""
        self.path.with_suffix(".md").write_text(text)
