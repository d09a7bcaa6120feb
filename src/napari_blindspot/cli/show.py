"""What the shell shows: events on stderr, the summary or one JSON line on stdout."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from napari_blindspot.cli.usage import PROGRAM
from napari_blindspot.cli.wording import in_shell
from napari_blindspot.progress import TITLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from napari_blindspot.progress import Progress, Stage


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that neither wraps nor colours words by itself."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False)


class EventView:
    """Shows the events of one job: bars with time left on a terminal, else lines.

    Parameters
    ----------
    console
        Where to show them, stderr unless told.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or plain_console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[Stage, TaskID] = {}
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Progress) -> None:
        """Show one event."""
        if event.stage == "file":
            self._forget()
        if event.stage not in self._tasks:
            self._begin(event)
        task = self._tasks[event.stage]
        self._bars.update(task, completed=event.done, total=event.total)
        if event.message and event.message not in self._said:
            self._said.add(event.message)
            self._console.print(in_shell(event.message))

    def _begin(self, event: Progress) -> None:
        """Open the bar of a stage and close the one before it.

        Training may stop before its budget is used; its bar ends full all the same.
        """
        for task in self._bars.tasks:
            if task.id == self._tasks.get("file"):
                continue
            self._bars.update(task.id, total=task.completed or 1, completed=task.total)
            self._bars.stop_task(task.id)
        title = TITLES[event.stage]
        self._said.add(title)
        if not self._console.is_terminal and event.stage != "file":
            self._console.print(title)
        self._tasks[event.stage] = self._bars.add_task(title, total=event.total)

    def _forget(self) -> None:
        """Close the bars of the file before, and let the next say the same again."""
        for stage in [stage for stage in self._tasks if stage != "file"]:
            self._bars.remove_task(self._tasks.pop(stage))
        self._said.clear()


def json_line(facts: Mapping[str, Any]) -> str:
    """Return facts as one line of strict JSON: NaN and infinity become null."""
    return json.dumps(_plain(facts), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def described_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what a file holds: its facts, and below them the paragraph for a paper."""
    methods = facts.get("methods")
    lines = fact_lines({k: v for k, v in facts.items() if k != "methods"})
    return [*lines, *_paragraph(methods)] if methods else lines


def trained_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what matters of a model that was trained just now, and where the rest is.

    Parameters
    ----------
    facts
        Those of `api.describe`.
    """
    made = facts["provenance"]
    training = made.get("training", {})
    short = {
        "output": facts["path"],
        "method": facts["method"],
        "start": made.get("start", {}).get("name"),
        **{name: training.get(name) for name in _OF_TRAINING},
        "noise": [_chosen(one, _OF_NOISE) for one in facts["noise"]],
        "noise_check": [_chosen(one, _OF_CHECK) for one in made.get("noise_check", ())],
    }
    more = f"All that is known of it: {PROGRAM} info {facts['path']}"
    return [*fact_lines(short), *_paragraph(facts["methods"]), "", more]


_OF_TRAINING = ("steps", "seconds", "stopped", "held_out_score", "device")
_OF_NOISE = ("model", "gain", "offset", "read_noise", "sigma", "outliers", "warnings")
_OF_CHECK = ("fits", "sentence")


def _chosen(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: facts[name] for name in names if name in facts}


def _paragraph(text: str) -> list[str]:
    return ["", *textwrap.wrap(text, 80, break_on_hyphens=False)]


def fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return facts as aligned lines for people, nested ones indented.

    What is not known or empty has no line.
    """
    known = {name: value for name, value in _plain(facts).items() if _is_known(value)}
    width = max((len(name) for name in known), default=0)
    return [
        line for name, value in known.items() for line in _lines_of(name, value, width)
    ]


def _is_known(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_known, value.values()))
    return value is not None and value != "" and value != []


def _lines_of(name: str, value: Any, width: int) -> list[str]:
    if isinstance(value, dict):
        return [name, *("  " + line for line in fact_lines(value))]
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        numbered = {f"{name}[{index}]": part for index, part in enumerate(value)}
        return [
            line for key, part in numbered.items() for line in _lines_of(key, part, 0)
        ]
    if isinstance(value, list):
        value = " ".join(_short(part) for part in value)
    return [f"{name:<{width}}  {_short(value)}"]


def _short(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
