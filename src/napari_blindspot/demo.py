"""The demo: denoise the generated sample stack and compare it with its truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot import api
from napari_blindspot.config import DenoiseSettings, Quality, parse_settings
from napari_blindspot.errors import InputError, OutputExistsError
from napari_blindspot.io import uncertainty_path
from napari_blindspot.pictures import before_after, compare
from napari_blindspot.sample import Phantom, nuclei_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_blindspot.progress import CancelToken, Job

SHAPE = (24, 192, 192)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made.

    Parameters
    ----------
    psnr_noisy, psnr_denoised
        PSNR in dB against the known truth, over the 1 % to 99.9 % range of the truth.
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
            f"PSNR that the run itself expected: {self._expected()}",
            f"Training {self.seconds_train:.0f} s, denoising "
            f"{self.seconds_predict:.0f} s on {self.device}",
            f"Denoised stack: {self.output}",
            f"Uncertainty: {self.uncertainty}",
            f"Picture: {self.picture}",
        ]

    def _expected(self) -> str:
        if self.expected_psnr is None:
            return "unknown"
        return f"{self.expected_psnr:.1f} dB"


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
    return _measure(phantom, result, target, picture)


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


def _measure(
    phantom: Phantom, result: api.Result, target: Path, picture: Path
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
    return DemoResult(
        psnr_noisy=psnr(phantom.noisy, phantom),
        psnr_denoised=psnr(denoised, phantom),
        expected_psnr=metrics["expected_psnr"],
        seconds_train=metrics["seconds_train"],
        seconds_predict=metrics["seconds_predict"],
        device=metrics["device"],
        output=target,
        uncertainty=uncertainty_path(target),
        picture=picture,
    )


def psnr(image: NDArray[Any], phantom: Phantom) -> float:
    """Return the peak signal-to-noise ratio of `image` against the truth in dB."""
    error = image.astype(np.float64) - phantom.truth
    return float(10.0 * np.log10(phantom.scale**2 / np.mean(error**2)))
