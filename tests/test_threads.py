"""The number of CPU threads, where jobs run side by side."""

from __future__ import annotations

import torch

from napari_blindspot.config import DeviceSettings
from napari_blindspot.device import cpu_threads

CPU = torch.device("cpu")


def test_jobs_that_end_out_of_order_leave_the_threads_of_before() -> None:
    torch.set_num_threads(2)
    first = cpu_threads(DeviceSettings(threads=3), CPU)
    second = cpu_threads(DeviceSettings(threads=1), CPU)
    assert first.__enter__() == 3
    assert second.__enter__() == 1
    assert torch.get_num_threads() == 1
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1  # the other is still at work
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 2


def test_a_job_within_another_gives_the_threads_back_to_it() -> None:
    with cpu_threads(DeviceSettings(threads=3), CPU):
        with cpu_threads(DeviceSettings(threads=2), CPU):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3
