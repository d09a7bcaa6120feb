"""The page of `warmstart.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from _results import said

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Cases = Mapping[str, Mapping[str, Any]]


def page(facts: Mapping[str, Any]) -> str:
    """Return the whole page as Markdown."""
    made = dict(facts["setting"])
    threads = "one thread" if made["threads"] == 1 else f"{made['threads']} threads"
    box = "×".join(map(str, made["box"]))
    lines = ["<!-- written by benchmarks/warmstart.py -->", ""]
    for name, table in (("curve", _curve), ("trust", _trust), ("photos", _photos)):
        if facts.get(name):
            lines += [*table(facts[name]), ""]
    lines.append(f"{said(made, threads)}; boxes of {box} voxels.")
    return "\n".join(lines) + "\n"


def _curve(cases: Cases) -> list[str]:
    """One row for every truth, light level and start; the mean over the seeds."""
    columns = sorted(
        {
            _steps(key)
            for one in cases.values()
            for key in one
            if _steps(key) is not None
        },
        key=lambda n: (n == "fast", n if isinstance(n, int) else 0),
    )
    seeds = sorted({key.split("/")[2] for key in cases})
    groups = list(dict.fromkeys(key.rsplit("/", 1)[0] for key in cases))
    lines = [
        f"PSNR in dB, range 1, after so many steps; mean over {len(seeds)} seed(s) "
        "of noise and training, in brackets the seconds of training.",
        "",
        "| truth | photons | noisy | Gaussian | start | "
        + " | ".join(map(str, columns))
        + " |",
        "|---" * (5 + len(columns)) + "|",
    ]
    for group in groups:
        name, photons = group.split("/")
        runs = [one for key, one in cases.items() if key.rsplit("/", 1)[0] == group]
        for start in ("warm", "cold"):
            cells = [_cell(runs, f"{start} {n}") for n in columns]
            noisy, gaussian = (_mean(one.get(k) for one in runs) for k in
                               ("noisy", "gaussian"))  # fmt: skip
            lines.append(
                f"| {name} | {photons} | {noisy} | {gaussian} | {start} | "
                + " | ".join(cells)
                + " |"
            )
    return lines


def _steps(key: str) -> int | str | None:
    if not key.startswith(("warm ", "cold ")):
        return None
    last = key.split()[1]
    return last if last == "fast" else int(last)


def _cell(runs: list[Mapping[str, Any]], key: str) -> str:
    found = [one[key] for one in runs if key in one]
    if not found:
        return ""
    seconds = np.mean([one["seconds"] for one in found])
    return f"{_mean(one['psnr'] for one in found)} ({seconds:.0f} s)"


def _mean(values: Iterable[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.2f}" if known else ""


def _trust(cases: Cases) -> list[str]:
    columns = ("gaussian", "warm 0", "warm 300", "cold 300")
    lines = [
        "Fields of things that no generated volume holds, PSNR in dB, range 1.",
        "",
        "| field | photons | best Gaussian | warm, no step | warm, 300 steps | cold, "
        "300 steps |",
        "|---|---|---|---|---|---|",
    ]
    for key, one in cases.items():
        name, photons = key.split("/")
        cells = " | ".join(_value(one.get(column)) for column in columns)
        lines.append(f"| {name} | {photons} | {cells} |")
    return lines


def _photos(cases: Cases) -> list[str]:
    columns = ("warm 0", "warm 200", "cold 200")
    lines = [
        "Photographs (Set12), Gaussian noise, each by itself: mean PSNR in dB.",
        "",
        "| σ (of 255) | images | warm, no step | warm, 200 steps | cold, 200 steps |",
        "|---|---|---|---|---|",
    ]
    for sigma in dict.fromkeys(key.split("/")[1] for key in cases):
        runs = [one for key, one in cases.items() if key.split("/")[1] == sigma]
        cells = " | ".join(_mean(one.get(column) for one in runs) for column in columns)
        lines.append(f"| {sigma} | {len(runs)} | {cells} |")
    return lines


def _value(found: Any) -> str:
    if found is None:
        return ""
    return f"{found['psnr'] if isinstance(found, dict) else found:.2f}"
