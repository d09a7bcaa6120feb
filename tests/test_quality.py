"""The figures of quality against scikit-image, closed forms and simulated images."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from io_files import Guarded
from napari_blindspot.config import CompareSettings
from napari_blindspot.errors import Cancelled, InputError
from napari_blindspot.io import open_stack
from napari_blindspot.progress import CancelToken, run
from napari_blindspot.quality import Comparison, compare_stacks, fourier_correlation
from napari_blindspot.quality import pieces as pieces_module

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_blindspot.sample import Phantom
    from napari_blindspot.stack import Stack

    Array = NDArray[Any]

PIXEL_UM = 0.1


def measured(
    result: Array | Stack, reference: Array | Stack, axes: str = "ZYX", **settings: Any
) -> Comparison:
    stacks = (open_stack(one, axes) for one in (result, reference))
    return run(compare_stacks(*stacks, CompareSettings(**settings)))


def smoothed(phantom: Phantom) -> Array:
    return gaussian_filter(phantom.noisy.astype(np.float32), (0.5, 1, 1))


def band_limited(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: Any, cutoff: float
) -> Array:
    """White noise without any frequency above `cutoff`, standard deviation 1."""
    grids = (np.fft.fftfreq(n, d) ** 2 for n, d in zip(shape, spacing, strict=True))
    radius = np.sqrt(sum(np.meshgrid(*grids, indexing="ij")))
    spectrum = np.fft.fftn(rng.normal(size=shape)) * (radius <= cutoff)
    image = np.fft.ifftn(spectrum).real
    return image / image.std()


# --- errors of the voxels --------------------------------------------------------


def test_psnr_and_ssim_are_those_of_scikit_image(phantom: Phantom) -> None:
    image, truth = smoothed(phantom).astype(float), phantom.truth.astype(float)
    found = measured(image, truth).channels[0].errors
    low, high = np.percentile(truth, [1, 99.9])
    assert found.data_range == pytest.approx(high - low)
    expected = peak_signal_noise_ratio(truth, image, data_range=high - low)
    assert found.psnr == pytest.approx(expected)
    planes = [
        structural_similarity(*pair, data_range=high - low)
        for pair in zip(image, truth, strict=True)
    ]
    assert found.ssim == pytest.approx(np.mean(planes))
    assert found.nrmse == pytest.approx(10 ** (-found.psnr / 20))
    assert found.bias == pytest.approx((image - truth).mean())


def test_figures_do_not_depend_on_how_the_stack_is_read(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    tall = np.concatenate([smoothed(phantom)] * 3, axis=1)
    truth = np.concatenate([phantom.truth] * 3, axis=1)
    whole = measured(tall, truth).channels[0]
    monkeypatch.setattr(pieces_module, "PIECE_VOXELS", 64)
    banded = measured(tall, truth).channels[0]
    assert banded.errors.ssim == pytest.approx(whole.errors.ssim, rel=1e-12)
    assert banded.errors.psnr == pytest.approx(whole.errors.psnr, rel=1e-12)
    counts = [[one.count for one in each.intensity.bins] for each in (whole, banded)]
    assert counts[0] == counts[1]
    assert sum(counts[0]) == tall.size


def test_data_range_can_be_given(phantom: Phantom) -> None:
    wide = measured(phantom.noisy, phantom.truth, data_range=10 * phantom.scale)
    own = measured(phantom.noisy, phantom.truth)
    assert wide.psnr == pytest.approx(own.psnr + 20)
    assert wide.channels[0].intensity == own.channels[0].intensity


def test_equal_stacks_are_called_equal(phantom: Phantom) -> None:
    found = measured(phantom.truth, phantom.truth)
    assert math.isinf(found.psnr)
    assert found.ssim == pytest.approx(1.0)
    assert found.as_dict()["psnr"] is None
    assert "infinite (equal)" in found.sentences()[1]


def test_invalid_voxels_are_left_out_and_counted(phantom: Phantom) -> None:
    image = smoothed(phantom)
    clean = measured(image, phantom.truth).channels[0].errors
    damaged = image.copy()
    damaged[2, 20, 30], damaged[5, 1, 1] = np.nan, np.inf
    found = measured(damaged, phantom.truth)
    errors = found.channels[0].errors
    assert (errors.n_invalid, errors.n_voxels) == (2, image.size - 2)
    assert errors.psnr == pytest.approx(clean.psnr, abs=0.01)
    assert errors.ssim == pytest.approx(clean.ssim, abs=0.01)
    assert any("2 voxels were left out" in line for line in found.sentences())
    ring = found.channels[0].ring
    assert ring is not None
    assert ring.n_images == 6
    assert found.channels[0].shell is None


def test_a_stack_of_nan_is_refused(phantom: Phantom) -> None:
    empty = np.full(phantom.truth.shape, np.nan, np.float32)
    with pytest.raises(InputError, match="no finite voxel"):
        measured(phantom.truth, empty)
    with pytest.raises(InputError, match="no voxel in common"):
        measured(empty, phantom.truth)


def test_a_constant_reference_needs_a_range(phantom: Phantom) -> None:
    flat = np.full(phantom.truth.shape, 7.0, np.float32)
    with pytest.raises(InputError, match="data_range="):
        measured(phantom.truth, flat)
    assert measured(flat + 1, flat, data_range=10.0).psnr == pytest.approx(20.0)


def test_every_channel_has_its_own_range(phantom: Phantom) -> None:
    truth = np.stack([phantom.truth, 100 * phantom.truth])
    image = np.stack([smoothed(phantom), 100 * smoothed(phantom)])
    found = measured(image, truth, "CZYX")
    one, two = found.channels
    assert (one.name, two.name) == ("0", "1")
    assert two.errors.psnr == pytest.approx(one.errors.psnr, abs=1e-3)
    assert two.errors.data_range == pytest.approx(100 * one.errors.data_range)
    assert found.psnr == pytest.approx((one.errors.psnr + two.errors.psnr) / 2)
    assert found.sentences()[1].startswith("Channel 0: ")


def test_large_stacks_are_read_in_small_pieces(phantom: Phantom) -> None:
    planes = np.concatenate([phantom.truth] * 8)
    most = planes.size // 4
    guarded = Guarded(planes, most)
    found = measured(open_stack(guarded, "ZYX"), open_stack(planes + 1, "ZYX"))
    assert found.channels[0].errors.n_voxels == planes.size
    assert 0 < guarded.largest <= most


def test_a_comparison_can_be_cancelled(phantom: Phantom) -> None:
    stack, token = open_stack(phantom.truth, "ZYX"), CancelToken()
    job = compare_stacks(stack, stack, CompareSettings(), token)
    assert next(job).stage == "compare"
    token.cancel()
    with pytest.raises(Cancelled):
        run(job)


# --- what does not fit together --------------------------------------------------


def test_different_sizes_are_refused(phantom: Phantom) -> None:
    with pytest.raises(InputError, match=r"ZYX 7×64×64, but .* ZYX 8×64×64"):
        measured(phantom.truth[:7], phantom.truth)
    movie = open_stack(phantom.truth, "TYX")
    with pytest.raises(InputError, match="same axes and size"):
        run(compare_stacks(movie, open_stack(phantom.truth, "ZYX"), CompareSettings()))


def test_different_channel_counts_are_refused(phantom: Phantom) -> None:
    both = open_stack(np.stack([phantom.truth] * 2), "CZYX")
    with pytest.raises(InputError, match="channel="):
        run(compare_stacks(both, open_stack(phantom.truth, "ZYX"), CompareSettings()))


def test_an_axis_of_length_one_may_be_missing(phantom: Phantom) -> None:
    longer = open_stack(phantom.noisy[None, :, None], "TZCYX")
    short = open_stack(phantom.truth, "ZYX")
    found = run(compare_stacks(longer, short, CompareSettings()))
    assert found.psnr == measured(phantom.noisy, phantom.truth).psnr


def test_different_voxel_sizes_are_refused_and_missing_ones_filled_in(
    phantom: Phantom,
) -> None:
    known = open_stack(phantom.truth, "ZYX", phantom.voxel_size)
    other = open_stack(phantom.truth, "ZYX", (1.0, 0.3, 0.4))
    with pytest.raises(InputError, match=r"0\.4 µm along x, but .* of 0\.3 µm"):
        run(compare_stacks(other, known, CompareSettings()))
    found = measured(phantom.noisy, known)
    assert found.resolution_unit == "µm"
    assert measured(phantom.noisy, phantom.truth).resolution_unit == "px"


def test_different_places_are_told(phantom: Phantom) -> None:
    stack = open_stack(phantom.truth, "ZYX")
    stacks = (replace(stack, translation=(z, 0.0, 0.0)) for z in (3.0, 4.0))
    found = run(compare_stacks(*stacks, CompareSettings()))
    assert any("different places" in note for note in found.notes)


# --- Fourier correlation ---------------------------------------------------------


def test_an_image_correlates_with_itself_in_every_ring(
    rng: np.random.Generator,
) -> None:
    image = rng.normal(size=(96, 128))
    curve = fourier_correlation([(image, 3 * image + 5)], (PIXEL_UM, PIXEL_UM))
    assert curve.correlation == pytest.approx([1.0] * len(curve.frequency), abs=1e-5)
    assert curve.sampling_limited
    assert curve.resolution == pytest.approx(2 * PIXEL_UM)
    # From the ring beyond zero to Nyquist, as fine as the shorter side allows.
    assert curve.frequency[0] == pytest.approx(1 / (96 * PIXEL_UM))
    assert curve.frequency[-1] == pytest.approx(0.5 / PIXEL_UM)


def test_independent_noise_does_not_correlate(rng: np.random.Generator) -> None:
    pair = rng.normal(size=(2, 256, 256))
    curve = fourier_correlation([tuple(pair)], (PIXEL_UM, PIXEL_UM))
    # The outer half has more than 400 coefficients a ring.
    outer = np.array(curve.correlation)[64:]
    assert np.abs(outer).max() < 0.3
    assert abs(outer.mean()) < 0.03
    # A few rings at the start, of a dozen coefficients each, may agree by chance.
    assert curve.resolution is None or curve.resolution > 20 * PIXEL_UM


@pytest.mark.parametrize("cutoff", [1.0, 2.0, 3.0])
def test_resolution_is_where_a_band_limited_image_ends(
    rng: np.random.Generator, cutoff: float
) -> None:
    spacing = (PIXEL_UM, PIXEL_UM)
    image = band_limited(rng, (256, 256), spacing, cutoff)
    noise = rng.normal(size=(2, 256, 256))
    curve = fourier_correlation([(image + noise[0], image + noise[1])], spacing)
    assert curve.resolution is not None
    assert 1 / curve.resolution == pytest.approx(cutoff, abs=2 * curve.frequency[0])
    assert not curve.sampling_limited


def test_correlation_of_noisy_repeats_follows_the_signal_to_noise_ratio(
    rng: np.random.Generator,
) -> None:
    """White signal of variance S in white noise of variance N: FRC = S / (S + N)."""
    signal = rng.normal(size=(4, 256, 256))
    pairs = [
        (one + rng.normal(size=one.shape), one + rng.normal(size=one.shape))
        for one in signal
    ]
    curve = fourier_correlation(pairs, (1.0, 1.0), "px")
    assert curve.n_images == 4
    assert np.mean(curve.correlation[32:]) == pytest.approx(0.5, abs=0.01)


def test_rings_are_physical_where_pixels_are_not_square(
    rng: np.random.Generator,
) -> None:
    spacing = (0.2, 0.1)
    image = band_limited(rng, (128, 256), spacing, 1.5)
    noise = rng.normal(size=(2, 128, 256))
    curve = fourier_correlation([(image + noise[0], image + noise[1])], spacing)
    assert curve.resolution is not None
    assert 1 / curve.resolution == pytest.approx(1.5, abs=2 * curve.frequency[0])
    assert curve.frequency[-1] == pytest.approx(2.5)


def test_shells_are_physical_where_voxels_are_not_cubes(
    rng: np.random.Generator,
) -> None:
    spacing, shape = (0.3, 0.1, 0.1), (32, 96, 96)
    image = band_limited(rng, shape, spacing, 1.25)
    noise = 2 * rng.normal(size=(2, *shape))
    stacks = [open_stack(image + one, "ZYX", spacing) for one in noise]
    found = run(compare_stacks(*stacks, CompareSettings())).channels[0]
    assert found.shell is not None
    assert found.shell.resolution is not None
    step = found.shell.frequency[0]
    assert 1 / found.shell.resolution == pytest.approx(1.25, abs=2 * step)
    assert (found.shell.shape, found.shell.n_images) == (shape, 1)


def test_borders_do_not_feign_agreement(rng: np.random.Generator) -> None:
    """Two unrelated images on one steep ramp: without a taper they would agree."""
    ramp = np.linspace(0, 50, 256)[:, None] * np.ones(256)
    pair = ramp + rng.normal(size=(2, 256, 256))
    curve = fourier_correlation([tuple(pair)], (1.0, 1.0), "px")
    assert abs(np.mean(curve.correlation[32:])) < 0.05


def test_planes_and_movies_have_no_shell(phantom: Phantom) -> None:
    size = (None, 0.3, 0.3)
    plane = open_stack(phantom.truth[0], "YX", size)
    movie = open_stack(phantom.truth, "TYX", size)
    for stack in (plane, movie):
        found = run(compare_stacks(stack, stack, CompareSettings())).channels[0]
        assert found.ring is not None
        assert found.shell is None


def test_big_stacks_are_correlated_in_their_middle() -> None:
    chunks = (1, 1100, 1100)
    noise = da.random.default_rng(0).normal(size=(40, 1100, 1100), chunks=chunks)
    stack = open_stack(noise.astype(np.float32), "ZYX")
    only = stack.crop({"Z": slice(0, 1)})
    found = run(compare_stacks(only, only, CompareSettings())).channels[0]
    assert found.ring is not None
    assert found.ring.shape == (1024, 1024)


# --- intensity -------------------------------------------------------------------


def ramp_stack() -> Array:
    """Planes that hold every value from 100 to 200 equally often."""
    plane = np.tile(np.linspace(100, 200, 256), (256, 1))
    return np.stack([plane] * 4)


def test_a_lost_tenth_of_the_signal_shows_in_every_bin() -> None:
    truth = ramp_stack()
    dimmed = 100 + 0.9 * (truth - 100)
    check = measured(dimmed, truth, offset=100.0).channels[0].intensity
    assert len(check.bins) == 20
    net = [one.net_ratio for one in check.bins if one.net_ratio is not None]
    assert net == pytest.approx([0.9] * len(net))
    assert check.worst_ratio == pytest.approx(0.9)
    assert check.plane_ratio == pytest.approx(0.9)
    # The offset hides half of it from the ratio of the grey values as they are.
    assert check.bins[-1].ratio == pytest.approx(187.8 / 197.5, abs=2e-3)
    assert check.bins[-1].deviation == pytest.approx(-0.0976 / 0.989, abs=2e-3)
    assert check.bins_kept is False
    assert check.planes_kept is False


def test_a_small_error_is_within_the_limits() -> None:
    truth = ramp_stack()
    found = measured(truth + 0.2, truth)
    check = found.channels[0].intensity
    assert check.worst_deviation == pytest.approx(0.2 / check.span)
    assert (check.bins_kept, check.planes_kept) == (True, True)
    assert any("(within 1 %)" in line for line in found.sentences())


def test_the_worst_plane_is_named() -> None:
    truth = ramp_stack()
    image = truth.copy()
    image[2] *= 1.02
    found = measured(image, truth)
    check = found.channels[0].intensity
    assert check.plane == (0, 2)
    assert check.plane_ratio == pytest.approx(1.02)
    assert check.n_planes == 4
    assert any("at z=2 (not within 0.5 %)" in line for line in found.sentences())


def test_binning_by_the_result_avoids_regression_to_the_mean() -> None:
    """A perfect result, against the noisy input that it was made from."""
    clean = ramp_stack()
    noisy = clean + np.random.default_rng(3).normal(0, 20, clean.shape)
    fair = measured(clean, noisy, bin_by="result")
    naive = measured(clean, noisy, bin_by="reference")
    assert fair.channels[0].intensity.bins_kept is True
    assert naive.channels[0].intensity.bins_kept is False
    assert any("Binned by the result" in note for note in fair.notes)
    assert not any("Binned by the result" in note for note in naive.notes)


def test_bins_of_a_perfect_posterior_mean_follow_their_closed_forms() -> None:
    rng = np.random.default_rng(4)
    prior_mean = 1000 + 50 * rng.normal(size=(8, 256, 256))
    v, n = 15.0**2, 30.0**2
    truth = prior_mean + v**0.5 * rng.normal(size=prior_mean.shape)
    noisy = truth + n**0.5 * rng.normal(size=truth.shape)
    weight = v / (v + n)
    result = prior_mean + weight * (noisy - prior_mean)

    def slope(found: Comparison) -> float:
        bins = [one for one in found.channels[0].intensity.bins if one.certain]
        means = np.array([(one.mean_reference, one.mean_result) for one in bins])
        return float(np.polyfit(*means.T, 1, w=[one.count**0.5 for one in bins])[0])

    repeat = truth + n**0.5 * rng.normal(size=truth.shape)
    assert slope(measured(result, repeat, bin_by="result")) == pytest.approx(
        1, abs=0.005
    )
    excess = v * (1 - weight)
    by_truth = slope(measured(result, truth))
    by_input = slope(measured(result, noisy))
    by_result = 1 / slope(measured(result, noisy, bin_by="result"))
    assert by_truth == pytest.approx(1 - excess / (2500 + v), abs=0.005)
    assert by_input == pytest.approx(1 - n / (2500 + v + n), abs=0.005)
    assert by_result == pytest.approx(1 + excess / (2500 + weight * v), abs=0.005)


def test_bins_of_few_voxels_decide_nothing() -> None:
    truth = ramp_stack() / 2 + 50
    truth[:, ::50, ::15] = 200.0  # 0.16 % of the voxels
    rare = truth == 200.0
    noise = np.random.default_rng(1).normal(0, 1, truth.shape)
    image = truth + np.where(rare, 60 * noise + 5, noise)
    check = measured(image, truth).channels[0].intensity
    assert [one.certain for one in check.bins] == [True] * 10 + [False]
    assert check.bins[-1].count == rare.sum()
    assert check.bins[-1].deviation > 0.03
    assert check.bins_kept is True


def test_background_at_zero_has_no_ratio() -> None:
    truth = ramp_stack() - 100
    check = measured(truth + 0.1, truth).channels[0].intensity
    assert check.bins[0].ratio == pytest.approx(1.0, abs=0.1)
    nothing = measured(truth - 50, truth - 50).channels[0].intensity
    assert nothing.bins[0].ratio is None
    assert nothing.plane_ratio is None
    assert nothing.planes_kept is None
