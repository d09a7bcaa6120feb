"""The demo: denoise the generated sample stack and compare it with its truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot import api
from napari_blindspot.config import (
    CompareSettings,
    DenoiseSettings,
    Quality,
    parse_settings,
)
from napari_blindspot.errors import InputError, OutputExistsError
from napari_blindspot.io import open_stack, uncertainty_path
from napari_blindspot.quality import compare_stacks
from napari_blindspot.reporting.pictures import before_after, compare
from napari_blindspot.sample import Phantom, nuclei_phantom

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_blindspot.progress import CancelToken, Job
    from napari_blindspot.quality import Comparison

SHAPE = (24, 192, 192)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made.

    Parameters
    ----------
    psnr_noisy, psnr_denoised
        PSNR in dB against the known truth, over the 1 % to 99.9 % range of the truth.
    ssim_noisy, ssim_denoised
        SSIM of the planes against the truth.
    resolution_um_noisy, resolution_um_denoised
        Detail down to which the planes agree with the truth, in µm: where the Fourier
        ring correlation falls below 1/7. None where they do not agree at all.
    expected_psnr
        PSNR in dB that the run predicted for itself without knowing the truth.
    seconds_train, seconds_predict
        Wall time.
    device
        Where the network ran.
    output, uncertainty
        OME-Zarr folders.
    picture
        PNG of one plane: noisy, denoised, truth, uncertainty.
    """

    psnr_noisy: float
    psnr_denoised: float
    ssim_noisy: float | None
    ssim_denoised: float | None
    resolution_um_noisy: float | None
    resolution_um_denoised: float | None
    expected_psnr: float | None
    seconds_train: float
    seconds_predict: float
    device: str
    output: Path
    uncertainty: Path
    picture: Path

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return what people want to know, line by line."""
        return [
            f"PSNR against the known truth: noisy {self.psnr_noisy:.1f} dB, "
            f"denoised {self.psnr_denoised:.1f} dB",
            f"SSIM: noisy {_known(self.ssim_noisy, '.3f')}, denoised "
            f"{_known(self.ssim_denoised, '.3f')}",
            f"Detail shared with the truth (Fourier ring correlation): noisy down to "
            f"{_known(self.resolution_um_noisy, '.2f', ' µm')}, denoised down to "
            f"{_known(self.resolution_um_denoised, '.2f', ' µm')}",
            f"PSNR that the run itself expected: "
            f"{_known(self.expected_psnr, '.1f', ' dB')}",
            f"Training {self.seconds_train:.0f} s, denoising "
            f"{self.seconds_predict:.0f} s on {self.device}",
            f"Denoised stack: {self.output}",
            f"Uncertainty: {self.uncertainty}",
            f"Picture: {self.picture}",
        ]


def demo_job(
    out: Path,
    quality: Quality = "fast",
    *,
    shape: tuple[int, int, int] = SHAPE,
    steps: int | None = None,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> Job[DemoResult]:
    """Denoise the generated stack into `out` and measure it against the truth.

    Parameters
    ----------
    out
        Folder for the results; created if missing.
    quality
        Training time and network size.
    shape
        Planes, rows and columns of the generated stack.
    steps
        Train for this many steps instead of what `quality` allows.
    overwrite
        Replace the results of an earlier demo.
    cancel
        Asked between tiles and between training steps.

    Returns
    -------
    Job of DemoResult
        A generator of events.

    Raises
    ------
    OutputExistsError
        If `out` holds the results of an earlier demo and `overwrite` is false.
    InputError
        If `out` cannot be made a folder.
    """
    out = out.absolute()
    target, picture = out / "denoised.ome.zarr", out / "before_after.png"
    _refuse_existing((target, picture), overwrite=overwrite)
    _make_folder(out)
    phantom = nuclei_phantom(shape)
    settings = parse_settings(
        DenoiseSettings,
        axes="ZYX",
        voxel_size=tuple(phantom.voxel_size),
        uncertainty=True,
        overwrite=overwrite,
        **({"quality": quality} if steps is None else {"steps": steps}),
    )
    result = yield from api.denoise_job(phantom.noisy, settings, target, cancel)
    scores = []
    for image in (phantom.noisy, result.image):
        score = yield from _score(image, phantom, cancel)
        scores.append(score)
    return _measure(phantom, result, scores, target, picture)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"out={str(out)!r} cannot be made a folder ({error.strerror}); choose "
            f"another folder with --out."
        ) from error


def _refuse_existing(paths: tuple[Path, ...], *, overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise OutputExistsError(
                f"{path} exists already; choose another folder with --out, or add "
                f"--overwrite."
            )


def _score(image: Any, phantom: Phantom, cancel: CancelToken | None) -> Job[Comparison]:
    measured = open_stack(image, "ZYX", phantom.voxel_size)
    truth = open_stack(phantom.truth, "ZYX", phantom.voxel_size)
    return (yield from compare_stacks(measured, truth, CompareSettings(), cancel))


def _measure(
    phantom: Phantom,
    result: api.Result,
    scores: Sequence[Comparison],
    target: Path,
    picture: Path,
) -> DemoResult:
    denoised = np.asarray(result.image, np.float32)
    uncertainty = np.asarray(result.uncertainty, np.float32)
    middle = denoised.shape[0] // 2
    row = compare(
        phantom.noisy[middle],
        denoised[middle],
        truth=phantom.truth[middle],
        uncertainty=uncertainty[middle],
        pixel_size_um=phantom.voxel_size.x,
    )
    before_after(picture, row)
    metrics = result.metrics
    before, after = scores
    return DemoResult(
        psnr_noisy=before.psnr,
        psnr_denoised=after.psnr,
        ssim_noisy=before.ssim,
        ssim_denoised=after.ssim,
        resolution_um_noisy=before.resolution,
        resolution_um_denoised=after.resolution,
        expected_psnr=metrics["expected_psnr"],
        seconds_train=metrics["seconds_train"],
        seconds_predict=metrics["seconds_predict"],
        device=metrics["device"],
        output=target,
        uncertainty=uncertainty_path(target),
        picture=picture,
    )


def _known(value: float | None, how: str, unit: str = "") -> str:
    return "unknown" if value is None else f"{value:{how}}{unit}"
