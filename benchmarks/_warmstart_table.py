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
    for name, table in _TABLES.items():
        if facts.get(name):
            lines += [*table(facts[name]), ""]
    if facts.get("curve"):
        lines += [*_students(facts["curve"]), ""]
        lines += [*_beside(facts["curve"], facts.get("careamics", {})), ""]
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
        f"PSNR in dB, range 1, after so many steps; mean over {len(seeds)} seeds of "
        "noise and training where no other number is given, in brackets the seconds of "
        "training.",
        "",
        "| truth | photons | noisy | Gaussian | start | "
        + " | ".join(_title(cases, n, len(seeds)) for n in columns)
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


def _students(cases: Cases) -> list[str]:
    """Show what answers at no step: the start weights and the shipped students."""
    columns = {
        "noisy": "noisy",
        "Gaussian": "gaussian",
        **{f"student {size}": f"student {size}" for size in ("tiny", "small", "full")},
        "teacher, no step": "warm 0",
    }
    lines = [
        "At once, without any training: the shipped students (one pass, no blind spot, "
        "no uncertainty) and the start weights of the teacher.",
        "",
        "| truth | photons | " + " | ".join(columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for group in dict.fromkeys(key.rsplit("/", 1)[0] for key in cases):
        runs = [one for key, one in cases.items() if key.rsplit("/", 1)[0] == group]
        cells = [
            _mean(_psnr(one[key]) for one in runs if key in one)
            for key in columns.values()
        ]
        lines.append(f"| {group.replace('/', ' | ')} | {' | '.join(cells)} |")
    return lines


def _title(cases: Cases, steps: int | str, seeds: int) -> str:
    """Name a column, and how many seeds it has if not all."""
    counts: dict[str, int] = {}
    for key, one in cases.items():
        group = key.rsplit("/", 1)[0]
        counts[group] = counts.get(group, 0) + (f"warm {steps}" in one)
    most = max(counts.values())
    return str(steps) if most == seeds else f"{steps} ({most} of {seeds} seeds)"


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


def _beside(cases: Cases, peers: Cases) -> list[str]:
    """Say in a table what the curves come to, over all cases that have both sides.

    A case is a truth at a light level; seeds are averaged first.
    """
    taken = {n for one in cases.values() for key in one if (n := _steps(key))}
    last = max((n for n in taken if isinstance(n, int)), default=0)
    pairs = {
        "no step − best Gaussian": ("warm 0", "gaussian"),
        "no step − Noise2Void of CAREamics": ("warm 0", "noise2void"),
        f"100 steps − cold, {last}": ("warm 100", f"cold {last}"),
        f"{last} steps − cold, {last}": (f"warm {last}", f"cold {last}"),
    }
    lines = [
        "What that comes to, warm against the others, in dB; mean, least and most of "
        "the cases, each of them the mean over its seeds:",
        "",
        "| warm | cases | runs | mean | least | most |",
        "|---|---|---|---|---|---|",
    ]
    for title, (left, right) in pairs.items():
        both = [{**one, "noise2void": _best(peers.get(key, {}))} for key, one in
                cases.items()]  # fmt: skip
        gains: dict[str, list[float]] = {}
        for key, one in zip(cases, both, strict=True):
            if one.get(left) is not None and one.get(right) is not None:
                gain = _psnr(one[left]) - _psnr(one[right])
                gains.setdefault(key.rsplit("/", 1)[0], []).append(gain)
        if gains:
            means = [np.mean(found) for found in gains.values()]
            told = (np.mean(means), min(means), max(means))
            cells = " | ".join(f"{value:+.2f}" for value in told)
            runs = sum(map(len, gains.values()))
            lines.append(f"| {title} | {len(gains)} | {runs} | {cells} |")
    return lines


def _psnr(found: Any) -> float:
    return float(found["psnr"] if isinstance(found, dict) else found)


def _best(peer: Mapping[str, Any]) -> float | None:
    found = peer.get("noise2void")
    return max(found["psnr"].values()) if found else None


def _careamics(cases: Cases) -> list[str]:
    cases = {key: one for key, one in cases.items() if one}
    if not cases:
        return []
    some = next(iter(cases.values()))["noise2void"]
    lines = [
        f"Noise2Void of CAREamics {some['version']} on the same recordings (three "
        f"dimensions, {some['parameters']} weights, patches of 8×64×64, two at a "
        "time): PSNR in dB, the best chosen with the truth, after so many steps and, "
        "in brackets, seconds.",
        "",
        "| truth | photons | best | after | all along |",
        "|---|---|---|---|---|",
    ]
    for key, one in cases.items():
        name, photons, _ = key.split("/")
        peer = one["noise2void"]
        best = max(peer["psnr"], key=lambda n: peer["psnr"][n])
        course = ", ".join(f"{value:.1f}" for value in peer["psnr"].values())
        lines.append(
            f"| {name} | {photons} | {peer['psnr'][best]:.2f} | {best} "
            f"({peer['seconds'][best]:.0f} s) | {course} |"
        )
    return lines


def _sizes(cases: Cases) -> list[str]:
    found = {key for one in cases.values() for key in one}
    columns = sorted(found, key=lambda key: (key.startswith("cold"), _steps(key)))
    lines = [
        "Larger networks, which grow from the start weights, on two crops of 64 pixels "
        "a step, 20 photons: PSNR in dB. *Warm 0* is the smaller network, which "
        "answers in their place.",
        "",
        "| network | truth | " + " | ".join(columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for key, one in cases.items():
        cells = " | ".join(_value(one.get(column)) for column in columns)
        lines.append(f"| {key.replace('/', ' | ')} | {cells} |")
    return lines


def _value(found: Any) -> str:
    if found is None:
        return ""
    return f"{_psnr(found):.2f}"


_TABLES = {
    "curve": _curve,
    "careamics": _careamics,
    "sizes": _sizes,
    "trust": _trust,
    "photos": _photos,
}
