"""The Markdown page of the benchmark of shared noise, written from its figures."""

from __future__ import annotations

from typing import Any

from _results import said

Cases = dict[str, dict[str, Any]]


def page(results: dict[str, Any]) -> str:
    """Write the page from whatever has been measured."""
    cases: Cases = results["cases"]
    lines = [
        "<!-- written by benchmarks/correlated.py -->",
        "",
        "PSNR in dB, range 1. *Best hole*: the best of all symmetric holes, with the "
        "posterior. *Asymmetric*: the mean alone, the best pair of a training hole and "
        "a smaller hole of the result.",
        "",
        "| truth | noise | voxels | noisy | Gaussian | N2V | structN2V | "
        "pixel shuffle | hole 1 1 1 | best hole | asymmetric | atbsn teacher | "
        "atbsn student | auto | its hole | small student | tiny student |",
        "|" + "---|" * 17,
    ]
    lines += [_row(key, case) for key, case in cases.items()]
    lines += [
        "",
        *_holes(cases),
        "",
        *_trusted(cases),
        "",
        f"{said(results['setting'])}, 40 photons.",
    ]
    return "\n".join(lines) + "\n"


def _row(key: str, case: dict[str, Any]) -> str:
    truth, noise = key.split("/")
    best = _best_hole(case)
    cells = [
        truth,
        noise,
        "×".join(map(str, case["noisy"]["shape"])),
        _psnr(case.get("noisy")),
        _psnr(case.get("gaussian")),
        _psnr(case.get("n2v")),
        _psnr(case.get("structn2v")),
        _psnr(case.get("pixel shuffle")),
        _psnr(case.get("hole 1 1 1")),
        f"{best[0]:.2f} ({best[1]})" if best else "",
        _asymmetric(case),
        _number(case.get("atbsn", {}).get("teacher")),
        _psnr(case.get("atbsn")),
        _psnr(case.get("auto")),
        case.get("auto", {}).get("hole", ""),
        _number(case.get("auto", {}).get("student small")),
        _number(case.get("auto", {}).get("student tiny")),
    ]
    return f"| {' | '.join(cells)} |"


def _holes(cases: Cases) -> list[str]:
    """List what every training hole gave, behind itself and behind smaller ones."""
    lines = [
        "| truth | noise | trained with | posterior | mean alone, asked behind |",
        "|---|---|---|---|---|",
    ]
    for key, case in cases.items():
        for method, found in case.items():
            if method.startswith("hole ") or method == "atbsn":
                asked = ", ".join(
                    f"{hole}: {value:.2f}"
                    for hole, value in found["mean behind"].items()
                )
                name = method if method == "atbsn" else method.removeprefix("hole ")
                own = "" if method == "atbsn" else f"{found['psnr']:.2f}"
                truth, noise = key.split("/")
                lines.append(f"| {truth} | {noise} | {name} | {own} | {asked} |")
    return lines


def _trusted(cases: Cases) -> list[str]:
    """List what the chosen hole gives if the voxel's own value counts in part."""
    found = {key: case["auto"] for key, case in cases.items() if "auto" in case}
    parts = [part for one in found.values() for part in one.get("trusted", {})]
    if not parts:
        return []
    columns = list(dict.fromkeys(parts))
    lines = [
        "The hole that `auto` chose, with a part of the step from the mean (0) to the "
        "posterior (1). The best part is known from the truth alone.",
        "",
        f"| truth | noise | hole | {' | '.join(columns)} |",
        "|" + "---|" * (3 + len(columns)),
    ]
    for key, one in found.items():
        scores = one.get("trusted", {})
        cells = [f"{scores[part]:.2f}" if part in scores else "" for part in columns]
        lines.append(f"| {' | '.join([*key.split('/'), one['hole'], *cells])} |")
    return lines


def _best_hole(case: dict[str, Any]) -> tuple[float, str] | None:
    found = [
        (one["psnr"], method.removeprefix("hole "))
        for method, one in case.items()
        if method.startswith("hole ")
    ]
    return max(found) if found else None


def _asymmetric(case: dict[str, Any]) -> str:
    found = [
        (value, f"{method.removeprefix('hole ')} → {asked}")
        for method, one in case.items()
        if method.startswith("hole ")
        for asked, value in one["mean behind"].items()
        if asked != method.removeprefix("hole ")
    ]
    return f"{max(found)[0]:.2f} ({max(found)[1]})" if found else ""


def _psnr(found: dict[str, Any] | None) -> str:
    return _number(found["psnr"] if found else None)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
