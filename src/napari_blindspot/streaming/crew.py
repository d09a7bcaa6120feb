"""Who denoises the blocks of a shared run: a dask client and its workers.

Only this module and `cluster` know `distributed`, which is imported when it is needed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_blindspot._version import __version__
from napari_blindspot.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_blindspot.config import PredictSettings

_ANSWER_S = 10.0
_PINNED = "CUDA_VISIBLE_DEVICES"


@contextmanager
def crew_of(settings: PredictSettings, client: Any = None) -> Iterator[Any]:
    """Find the workers that the settings name; None where there are none to be.

    Parameters
    ----------
    settings
        Their ``scheduler`` or ``workers``.
    client
        A `distributed.Client` of the user's, which is used as it is and stays open.

    Yields
    ------
    distributed.Client or None

    Raises
    ------
    InputError
        If `distributed` is not installed, or the workers have another version of this
        package.
    RunError
        If the scheduler does not answer within 10 seconds, or has no workers.
    """
    if client is not None:
        check_versions(client)
        yield client
    elif settings.scheduler is not None:
        with _connected(settings.scheduler) as found:
            check_versions(found)
            yield found
    elif settings.workers is not None:
        with _started(settings.workers, settings.device) as found:
            yield found
    else:
        yield None


def check_crew(settings: PredictSettings, client: Any = None) -> None:
    """Find out before the work whether there will be workers.

    Raises
    ------
    InputError, RunError
        As `crew_of`.
    """
    if client is None and settings.workers is not None:
        _distributed()
        return
    with crew_of(settings, client):
        pass


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(
            f"the scheduler {address} did not answer within {_ANSWER_S:g} seconds; "
            f"check its address (dask scheduler prints it, e.g. tcp://host:8786) and "
            f"that its port can be reached from here."
        ) from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            try:
                client.wait_for_workers(1, timeout=_ANSWER_S)
            except TimeoutError as error:
                raise RunError(
                    f"the scheduler {address} has no workers; start some with 'dask "
                    f"worker {address}' where this package is installed."
                ) from error
        yield client


@contextmanager
def _started(count: int, device: str) -> Iterator[Any]:
    """Start workers on this machine, each in a process of its own."""
    distributed = _distributed()
    threads = max(1, (os.cpu_count() or 1) // count)
    # Ports that the system chooses: another cluster may use the usual ones.
    local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    options = {**local, "nthreads": threads, "memory_limit": 0, "dashboard": False}
    crew = {
        number: {
            "cls": distributed.Nanny,
            "options": {**options, "env": _environment(number, device)},
        }
        for number in range(count)
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {**local, "port": 0, "dashboard": False},
    }
    with (
        distributed.SpecCluster(
            workers=crew, scheduler=scheduler, silence_logs=50
        ) as here,
        distributed.Client(here, set_as_default=False) as client,
    ):
        client.wait_for_workers(count)
        yield client


def _environment(number: int, device: str) -> dict[str, str]:
    """Return what a worker must find before it imports torch: its own GPU."""
    from napari_blindspot.device import gpu_count

    count = gpu_count()
    if device not in ("auto", "cuda") or count < 2:
        return {}
    shown = os.environ.get(_PINNED, "")
    names = shown.split(",") if shown else [str(index) for index in range(count)]
    return {_PINNED: names[number % count]}


def check_versions(client: Any) -> None:
    """Refuse workers that would compute something else.

    Raises
    ------
    InputError
        Naming a worker and both versions.
    """
    for worker, version in client.run(package_version).items():
        if version != __version__:
            raise InputError(
                f"worker {worker} has napari-blindspot {version}, this is "
                f"{__version__}; install the same version on all machines."
            )


def package_version() -> str:
    """Return the version of this package where it runs."""
    return __version__


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "a run on several processes or machines needs dask.distributed; install "
            'it with pip install "napari-blindspot[cluster]".'
        ) from error
    return distributed
