"""Sample stacks: a generated volume with known truth, and public ones on demand.

The generated volume resembles what a microscope sees of a flatworm's nuclei: dense,
anisotropic, unevenly bright nuclei in a tissue with a soft edge, blurred by the
microscope and recorded by a camera whose gain, offset and read noise are known.
"""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_blindspot.errors import InputError, RunError
from napari_blindspot.stack import VoxelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS3D_VOXEL = VoxelSize(0.29, 0.26, 0.26)
PLANARIA_PAGE = "https://publications.mpi-cbg.de/publications-sites/7207/"
PLANARIA_URL = "https://edmond.mpg.de/api/access/datafile/264085"
PLANARIA_ARCHIVE = "Denoising_Planaria.tar.gz"

_VOXEL = VoxelSize(1.0, 0.3, 0.3)
_RADIUS_UM = (2.0, 3.4)
_SPACING_UM = 4.3
_PSF_UM = (0.7, 0.24, 0.24)


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A noisy volume whose truth and camera are known.

    Parameters
    ----------
    noisy
        What the camera stored: (Z, Y, X), uint16, grey values.
    truth
        Expected grey value of every voxel: (Z, Y, X), float32.
    voxel_size
        Distance between voxel centres in µm.
    gain
        Grey values per photo-electron.
    offset
        Grey value of the camera in the dark.
    read_noise
        Read noise in electrons (standard deviation).
    scale
        Grey values between the 1 % and the 99.9 % quantile of the truth: the
        range that PSNR refers to.
    """

    noisy: NDArray[np.uint16]
    truth: NDArray[np.float32]
    voxel_size: VoxelSize
    gain: float
    offset: float
    read_noise: float
    scale: float


def nuclei_phantom(
    shape: tuple[int, int, int] = (32, 256, 256),
    *,
    seed: int = 0,
    photons: float = 20.0,
    gain: float = 2.2,
    offset: float = 100.0,
    read_noise: float = 1.6,
) -> Phantom:
    """Generate nuclei in tissue, and what a camera records of them.

    With ``c`` the clean volume on a scale where 1 is the 99.9 % quantile, the camera
    counts ``n = Poisson(photons·c) + Normal(0, read_noise)`` electrons and stores
    ``round(gain·n + offset)``, clipped to 16 bits.

    Parameters
    ----------
    shape
        Planes, rows, columns; at least (1, 16, 16).
    seed
        Seed of everything random; the same seed gives the same volume.
    photons
        Photo-electrons per voxel where ``c = 1``.
    gain
        Grey values per photo-electron.
    offset
        Grey value of the camera in the dark.
    read_noise
        Read noise in electrons (standard deviation).

    Returns
    -------
    Phantom
        The noisy volume, its truth and the parameters of the camera.

    Raises
    ------
    InputError
        If the shape is too small, `photons` or `gain` is not positive, or
        `read_noise` is negative.
    """
    _check_phantom(shape, photons, gain, read_noise)
    rng = np.random.default_rng(seed)
    clean = _unit_scale(_clean_volume(shape, rng))
    electrons = rng.poisson(photons * clean) + rng.normal(0.0, read_noise, shape)
    noisy = np.clip(np.rint(gain * electrons + offset), 0, 65535).astype(np.uint16)
    truth = (gain * photons * clean + offset).astype(np.float32)
    return Phantom(noisy, truth, _VOXEL, gain, offset, read_noise, gain * photons)


def _check_phantom(
    shape: tuple[int, int, int], photons: float, gain: float, read_noise: float
) -> None:
    if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < 16:
        raise InputError(
            f"shape={shape} cannot be used; give planes, rows and columns, at least "
            f"(1, 16, 16)."
        )
    for name, value in (("photons", photons), ("gain", gain)):
        if value <= 0:
            raise InputError(
                f"{name}={value:g} cannot be used; give a positive number."
            )
    if read_noise < 0:
        raise InputError(
            f"read_noise={read_noise:g} cannot be used; give 0 or more electrons."
        )


def _unit_scale(volume: NDArray[Any]) -> NDArray[np.float64]:
    """Map the 1 % quantile to 0 and the 99.9 % quantile to 1; clip below 0."""
    low, high = np.percentile(volume, [1.0, 99.9])
    unit: NDArray[np.float64] = np.clip((volume - low) / (high - low), 0.0, None)
    return unit.astype(np.float64)


def _clean_volume(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return nuclei, tissue background and blur, arbitrary units, float32."""
    from scipy.ndimage import gaussian_filter

    tissue = _tissue(shape, rng)
    volume = _nuclei(shape, tissue, rng)
    volume *= 1.0 + 0.35 * _smooth_noise(shape, 0.6, rng)
    haze = 0.07 + 0.03 * _smooth_noise(shape, 4.0, rng)
    volume = np.maximum(volume, 0.0) + tissue * np.maximum(haze, 0.0)
    blurred = gaussian_filter(volume, _in_voxels(_PSF_UM), mode="reflect")
    out_of_focus = gaussian_filter(volume, _in_voxels((3.0, 2.0, 2.0)), mode="reflect")
    clean: NDArray[np.float32] = (blurred + 0.15 * out_of_focus).astype(np.float32)
    return clean


def _tissue(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the tissue envelope: 1 inside, 0 outside, with a soft wavy edge."""
    y = np.linspace(-1.0, 1.0, shape[1], dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, shape[2], dtype=np.float32)[None, :]
    disc = 1.15 - np.hypot(y + 0.25, 0.85 * (x - 0.2))
    wavy = disc[None] + 0.12 * _smooth_noise(shape, 9.0, rng)
    envelope: NDArray[np.float32] = 1.0 / (1.0 + np.exp(-wavy / 0.03))
    return envelope


def _nuclei(
    shape: tuple[int, int, int],
    tissue: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw soft-edged ellipsoids of varying brightness inside the tissue."""
    volume = np.zeros(shape, np.float32)
    voxel = np.asarray(_VOXEL, np.float64)
    for centre in _centres(shape, rng):
        inside = tuple(np.clip((centre / voxel).astype(int), 0, np.array(shape) - 1))
        if tissue[inside] < 0.5:
            continue
        radii = rng.uniform(*_RADIUS_UM, size=3) * (0.8, 1.0, 1.0)
        brightness = float(np.clip(rng.lognormal(-0.5, 0.45), 0.15, 2.0))
        _draw_ellipsoid(volume, centre, radii, _rotation(rng), brightness)
    return volume


def _centres(
    shape: tuple[int, int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return nuclear centres (n, 3) in µm, thinned to a least distance.

    They reach one radius beyond the borders, so that nuclei are cut there as in a
    real field of view.
    """
    from scipy.spatial import cKDTree

    margin = _RADIUS_UM[1]
    extent = np.array(shape) * np.array(_VOXEL)
    wanted = int(6 * np.prod(extent + 2 * margin) / _SPACING_UM**3)
    points = rng.uniform(-margin, extent + margin, size=(max(wanted, 8), 3))
    kept = np.ones(len(points), bool)
    near = cKDTree(points).query_ball_point(points, _SPACING_UM)
    for index, others in enumerate(near):
        if kept[index]:
            kept[[other for other in others if other > index]] = False
    result: NDArray[np.float64] = points[kept]
    return result


def _draw_ellipsoid(
    volume: NDArray[np.float32],
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
    rotation: NDArray[np.float64],
    brightness: float,
) -> None:
    """Draw one ellipsoid where it outshines what is there; lengths in µm."""
    voxel, reach = np.asarray(_VOXEL), 1.25 * radii.max()
    low = np.clip(np.floor((centre - reach) / voxel), 0, volume.shape).astype(int)
    high = np.clip(np.ceil((centre + reach) / voxel) + 1, 0, volume.shape).astype(int)
    if np.any(high <= low):
        return
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(
        np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1
    )
    local = (grid * voxel - centre) @ rotation / radii
    distance = np.sqrt((local**2).sum(axis=-1))
    # The rim is a little brighter than the middle, as stained chromatin is.
    body = (0.75 + 0.25 * distance**2) / (1.0 + np.exp((distance - 1.0) / 0.05))
    volume[box] = np.maximum(volume[box], brightness * body)


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation: NDArray[np.float64] = q * np.sign(np.diag(r))
    return rotation


def _smooth_noise(
    shape: tuple[int, int, int], sigma_um: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return correlated noise of mean 0 and standard deviation 1."""
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal(shape, np.float32)
    smooth = gaussian_filter(white, _in_voxels((sigma_um,) * 3), mode="wrap")
    result: NDArray[np.float32] = (smooth - smooth.mean()) / max(smooth.std(), 1e-12)
    return result


def _in_voxels(length_um: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(a / b for a, b in zip(length_um, np.asarray(_VOXEL), strict=True))


def cells3d_nuclei() -> tuple[NDArray[np.uint16], VoxelSize]:
    """Return the nuclei of scikit-image's `cells3d`, downloaded on first use.

    Returns
    -------
    nuclei
        (60, 256, 256), uint16.
    voxel_size
        0.29, 0.26, 0.26 µm.

    Raises
    ------
    RunError
        If the file is not in the cache and cannot be downloaded.
    """
    from skimage.data import cells3d

    try:
        cells = cells3d()  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise RunError(
            f"The cells3d sample could not be downloaded ({type(error).__name__}); go "
            f"online and try again, or use the generated sample, which needs no "
            f"network."
        ) from error
    nuclei: NDArray[np.uint16] = np.asarray(cells[:, 1], np.uint16)
    return nuclei, CELLS3D_VOXEL


def fetch_planaria(folder: Path | str) -> Path:
    """Download the published CARE Planaria set and unpack it.

    Nothing is downloaded again that is there already.

    Parameters
    ----------
    folder
        Where the archive and the unpacked stacks are kept; created if missing.

    Returns
    -------
    Path
        The unpacked folder.

    Raises
    ------
    RunError
        If the set cannot be downloaded or unpacked.
    """
    import pooch

    folder = Path(folder)
    try:
        archive = pooch.retrieve(
            PLANARIA_URL, known_hash=None, fname=PLANARIA_ARCHIVE, path=folder
        )
    except (OSError, ValueError) as error:
        raise RunError(
            f"The Planaria set could not be downloaded to {folder} "
            f"({type(error).__name__}); go online and try again, or download "
            f"{PLANARIA_ARCHIVE} from {PLANARIA_PAGE} into that folder."
        ) from error
    return unpack_planaria(Path(archive))


def unpack_planaria(archive: Path) -> Path:
    """Unpack the Planaria archive beside itself, refusing members that escape.

    A folder that is complete already is left as it is.

    Raises
    ------
    RunError
        If the archive is damaged or holds a member that would be written elsewhere.
    """
    target = archive.with_name(archive.name.removesuffix(".tar.gz"))
    if target.is_dir():
        return target
    try:
        with (
            tempfile.TemporaryDirectory(dir=archive.parent) as temporary,
            tarfile.open(archive) as tar,
        ):
            unpacked = Path(temporary, target.name)
            tar.extractall(unpacked, filter="data")
            unpacked.rename(target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RunError(
            f"{archive} could not be unpacked ({error}); delete it and "
            f"download it again."
        ) from error
    return target
