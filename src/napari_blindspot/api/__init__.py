"""The Python door: `denoise`, `train`, `predict`, `compare`, `diagnose` and more.

What takes long has a twin ending in ``_job``: the same work as a generator of
`Progress` events, which is what the shell and the panel run.
"""

from __future__ import annotations

from napari_blindspot.api.denoising import denoise, distill, predict, train
from napari_blindspot.api.looking import (
    diagnose,
    estimate_noise,
    preview,
    shipped_student,
)
from napari_blindspot.facts import Result, describe
from napari_blindspot.jobs import (
    check_keeping,
    denoise_job,
    distill_job,
    is_complete,
    predict_job,
    train_job,
)
from napari_blindspot.quality import Comparison
from napari_blindspot.reporting.comparing import compare, compare_job
from napari_blindspot.reporting.diagnosis import diagnose_job
from napari_blindspot.reporting.findings import Diagnosis
from napari_blindspot.reporting.report import write_report

__all__ = [
    "Comparison",
    "Diagnosis",
    "Result",
    "check_keeping",
    "compare",
    "compare_job",
    "denoise",
    "denoise_job",
    "describe",
    "diagnose",
    "diagnose_job",
    "distill",
    "distill_job",
    "estimate_noise",
    "is_complete",
    "predict",
    "predict_job",
    "preview",
    "shipped_student",
    "train",
    "train_job",
    "write_report",
]
