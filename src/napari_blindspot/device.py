"""Where the network runs: the device, its name, its precision and CPU threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from napari_blindspot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from napari_blindspot.config import DeviceSettings

M = TypeVar("M", bound="torch.nn.Module")


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What the user should know about the device in use.

    Parameters
    ----------
    device
        Name for torch: ``"cpu"``, ``"cuda:0"``, ``"mps"``.
    name
        Name for people.
    warning
        Not empty when a faster device stands idle.
    """

    device: str
    name: str
    warning: str = ""


def pick_device(device: str = "auto") -> torch.device:
    """Turn ``"auto"`` or a device name into a device that works.

    Raises
    ------
    InputError
        If the device is unknown or not usable with the installed torch.
    """
    import torch

    if device == "auto":
        return torch.device(_best_device())
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"device={device!r} is not known; choose auto, cpu, cuda, cuda:N or mps."
        ) from error
    usable = {
        "cpu": True,
        "cuda": torch.cuda.is_available()
        and (picked.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not usable.get(picked.type, False):
        raise InputError(
            f"device={device!r} is not usable with the installed torch "
            f"{torch.__version__} on this machine; choose 'auto' or 'cpu', or install "
            f"a torch that supports it."
        )
    return picked


def gpu_count() -> int:
    """Return how many CUDA devices this process may use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def describe_device(device: str = "auto") -> DeviceReport:
    """Say which device is used, and loudly when an NVIDIA card stands idle.

    Raises
    ------
    InputError
        As `pick_device`.
    """
    import torch

    picked = pick_device(device)
    if picked.type == "cuda":
        index = picked.index or 0
        return DeviceReport(f"cuda:{index}", torch.cuda.get_device_name(index))
    if picked.type == "mps":
        return DeviceReport("mps", "Apple GPU")
    idle = nvidia_card() if not torch.cuda.is_available() else None
    warning = (
        f"{idle} is in this machine, but the installed torch {torch.__version__} "
        f"cannot use it; install torch with CUDA to train many times faster."
        if idle
        else ""
    )
    return DeviceReport("cpu", f"CPU ({available_cores()} cores)", warning)


def nvidia_card() -> str | None:
    """Return the name of the first NVIDIA card that the driver reports, if any."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    names = answer.stdout.strip().splitlines()
    return names[0].strip() if names else None


def available_cores() -> int:
    """Return the CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fixed_threads() -> int:
    """Return a number of CPU threads that is the same in every run on a machine.

    ``OMP_NUM_THREADS`` where it is set. Else one thread on two cores or fewer (a
    second one is easily slower when anything else runs), half of the cores beyond.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return max(1, available_cores() // 2)


def measured_threads(seconds: float = 2.0) -> int:
    """Return the number of CPU threads with which a small network runs fastest now.

    ``OMP_NUM_THREADS`` is respected where it is set. Candidates are 1, half of the
    cores and all of them; each runs the same few convolutions for its share of
    `seconds`, and the fastest single run counts.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return fixed_threads()
    import torch

    before = torch.get_num_threads()
    cores = available_cores()
    candidates = sorted({1, max(1, cores // 2), cores})
    conv = torch.nn.Conv2d(24, 24, 3, padding=1)
    x = torch.zeros(8, 24, 64, 64)
    fastest: dict[int, float] = {}
    try:
        for threads in candidates:
            torch.set_num_threads(threads)
            fastest[threads] = _fastest_run(conv, x, seconds / len(candidates))
    finally:
        torch.set_num_threads(before)
    return min(candidates, key=lambda threads: fastest[threads])


@contextmanager
def cpu_threads(settings: DeviceSettings, device: torch.device) -> Iterator[int]:
    """Set the number of CPU threads for a while; yields the number.

    With a budget in steps it is the same in every run on a machine, so that the same
    seed gives the same weights; otherwise the fastest number is measured. Jobs that run
    side by side may end in any order: the last one to end leaves what the first found.
    """
    if settings.threads is not None:
        threads = settings.threads
    elif device.type != "cpu" or getattr(settings, "steps", None) is not None:
        threads = fixed_threads()
    else:
        threads = measured_threads()
    with _ASKED.threads(threads):
        yield threads


class _AskedThreads:
    """The numbers of CPU threads that are asked for at the same time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._asked: dict[object, int] = {}  # the latest last
        self._before = 1

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Use so many, then those of who else still asks, or those of before."""
        import torch

        who = object()
        with self._lock:
            if not self._asked:
                self._before = torch.get_num_threads()
            self._asked[who] = count
            torch.set_num_threads(count)
        try:
            yield
        finally:
            with self._lock:
                del self._asked[who]
                others = list(self._asked.values())
                torch.set_num_threads(others[-1] if others else self._before)


_ASKED = _AskedThreads()


def channels_last(network: M, device: torch.device) -> M:
    """Move a network to a device, in the memory layout that convolutions like best.

    On a CPU this alone makes inference about 1.4 times as fast.
    """
    import torch

    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def peak_memory_bytes() -> int:
    """Return the most host memory this process has held so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def _fastest_run(conv: torch.nn.Module, x: torch.Tensor, seconds: float) -> float:
    conv(x).sum().backward()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(4):
            conv(x).sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"
