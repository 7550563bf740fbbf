"""Scans that hold the same acquisition, found by content: candidates by fingerprint, certainty voxel by voxel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_da.audit.fingerprint import Fingerprint, in_lps
from nnunet_da.audit.quality import chosen_slices
from nnunet_da.conversion.images import read_image

ALIKE = 0.96  # cosine of two descriptions that may show one place
AGREE_STEPS = 1.5  # how far from the common translation, per axis
ENOUGH_POINTS = 4
SHARE_OF_POINTS = 0.25  # of the scan with fewer points; copies share 0.4 or more, people who look alike seldom 0.25
SAME = 0.65  # median local correlation from which two scans hold one acquisition
WINDOW_MM = 9.0  # over which the local correlation is taken
SMALLEST_OVERLAP = 0.1  # of the smaller scan
Flip = tuple[int, int, int]
FLIPS: tuple[Flip, ...] = tuple((x, y, z) for x, y, z in product((1, -1), repeat=3))
SAMPLES = 2e4  # voxels that steer the registration
_ROWS = 1024  # about so many descriptions are compared at a time

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """Two scans whose points agree: place in b = flip * place in a + offset, in mm from the corners in LPS order.

    Attributes:
        first, second: positions in the list of fingerprints.
        flip: 1 or -1 for x, y, z.
        points: how many points agree.
    """

    first: int
    second: int
    flip: Flip
    offset_mm: tuple[float, float, float]
    points: int


@dataclass(frozen=True)
class Match:
    """The outcome of laying one scan over another.

    Attributes:
        correlation: median local correlation, 1 for the same voxels, about 0 for two scans of two people, -1 to 1.
        overlap: share of the smaller scan that the other covers.
    """

    correlation: float
    overlap: float

    @property
    def same(self) -> bool:
        return self.correlation >= SAME and self.overlap >= SMALLEST_OVERLAP


def candidates(prints: list[Fingerprint], step_mm: float) -> list[Candidate]:
    """Pairs of scans worth laying over each other, the likeliest first."""
    counts = [len(one.descriptions) for one in prints]
    owner = np.repeat(np.arange(len(prints)), counts)
    described = np.concatenate([one.descriptions for one in prints])
    places = np.concatenate([one.places_mm for one in prints])
    found = []
    for first, second in _pairs(described, owner):
        a, b = int(owner[first[0]]), int(owner[second[0]])
        enough = max(ENOUGH_POINTS, SHARE_OF_POINTS * min(counts[a], counts[b]))
        if len(first) < enough:
            continue
        flip, offset, points = _common_move(places[first], places[second], AGREE_STEPS * step_mm, enough)
        if points >= enough:
            found.append(Candidate(a, b, flip, offset, points))
    return sorted(found, key=lambda candidate: -candidate.points)


def lay_over(first: Path, second: Path, candidate: Candidate) -> Match:
    """Register the second scan to the first by translation alone, from the candidate's place, and compare their voxels.

    The finer scan is brought to the coarser one's slices, so that resampled copies still agree.

    Raises:
        UserError: a file cannot be read.
    """
    a, b = in_lps(read_image(first)), in_lps(read_image(second))
    fixed, moving = (sitk.Cast(image, sitk.sitkFloat32) for image in (a, b))
    moving, offset = _unflipped(moving, candidate)
    if np.prod(fixed.GetSpacing()) < np.prod(moving.GetSpacing()):
        fixed, moving, offset = moving, fixed, tuple(-value for value in offset)
    moving = _blurred_to(moving, fixed.GetSpacing())
    transform = _translation(fixed, moving, offset)
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkBSpline3))
    covered = sitk.GetArrayFromImage(sitk.Resample(_ones(moving), fixed, transform, sitk.sitkNearestNeighbor)) > 0
    sizes = [float(np.prod([n * edge for n, edge in zip(image.GetSize(), image.GetSpacing(), strict=True)])) for image in (fixed, moving)]
    overlap = float(covered.sum() * np.prod(fixed.GetSpacing())) / min(sizes)
    used = np.flatnonzero(covered.any(axis=(1, 2)))
    if not len(used):
        return Match(0.0, 0.0)
    slices = used[chosen_slices(len(used))]  # a few tell, and all of a long scan would fill the memory
    correlation = local_correlation(sitk.GetArrayFromImage(fixed)[slices], moved[slices], covered[slices], fixed.GetSpacing()[::-1])
    return Match(correlation, min(overlap, 1.0))


def local_correlation(a: Array, b: Array, where: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> float:
    """Median over `where` of the correlation of two volumes within windows of about `WINDOW_MM` in the slice; 0 where nothing varies.

    Noise decides it in soft tissue: two scans of one person do not share it, two files of one scan do, whatever the anatomy looks like.
    """
    size = (1, *(max(3, round(WINDOW_MM / edge)) for edge in spacing_mm[1:]))
    a, b = (np.clip(volume - np.median(volume), *_limits(volume)).astype(np.float64) for volume in (a, b))
    mean_a, mean_b, aa, bb, ab = (ndimage.uniform_filter(v, size) for v in (a, b, a * a, b * b, a * b))
    var_a, var_b = aa - mean_a**2, bb - mean_b**2
    inner = ndimage.minimum_filter(where, size, mode="constant") & (var_a > 1e-6 * a.var()) & (var_b > 1e-6 * b.var())
    return float(np.median((ab - mean_a * mean_b)[inner] / np.sqrt(var_a[inner] * var_b[inner]))) if inner.any() else 0.0


def _limits(volume: Array) -> tuple[float, float]:
    """Of the values about their median: metal must not hide the rest."""
    low, high = np.percentile(volume, [0.5, 99.5]) - np.median(volume)
    return float(low) - 1e-3, float(high) + 1e-3


def _pairs(described: Array, owner: NDArray[np.intp]) -> Iterator[tuple[NDArray, NDArray]]:
    """Per pair of scans, points of the first and for each the likest point of the second, where they are alike."""
    starts = np.flatnonzero(np.r_[True, np.diff(owner) != 0][: len(owner)])
    borders_of_blocks = [0, *starts[np.flatnonzero(np.diff(starts // _ROWS)) + 1], len(owner)]  # a scan's points stay together
    for start, end in pairwise(borders_of_blocks):
        like = described[start:end] @ described.T[:, start:]
        rows, columns = np.nonzero(like > ALIKE)
        value = like[rows, columns]
        rows, columns = rows + start, columns + start
        other = owner[rows] < owner[columns]
        rows, columns, value = rows[other], columns[other], value[other]
        order = np.lexsort((-value, rows, owner[columns], owner[rows]))
        rows, columns = rows[order], columns[order]
        first = np.r_[True, (np.diff(rows) != 0) | (np.diff(owner[columns]) != 0)][: len(rows)]
        rows, columns = rows[first], columns[first]
        borders = np.flatnonzero((np.diff(owner[rows]) != 0) | (np.diff(owner[columns]) != 0)) + 1
        if len(rows):
            yield from zip(np.split(rows, borders), np.split(columns, borders), strict=True)


def _common_move(a: Array, b: Array, tolerance_mm: float, enough: float) -> tuple[Flip, tuple[float, float, float], int]:
    """The flip and translation that most matched points agree on, and how many distinct points do; what cannot reach enough is skipped."""
    best: tuple[int, Flip, Array] = (0, FLIPS[0], np.zeros(3, np.float32))
    reached = {sign: _most_along_each_axis(b - sign * a, tolerance_mm) >= enough for sign in (1, -1)}
    for flip in FLIPS:
        if not all(reached[sign][axis] for axis, sign in enumerate(flip)):
            continue
        moves = b - np.array(flip, np.float32) * a
        near = (np.abs(moves[:, None] - moves[None]) < tolerance_mm).all(axis=2)
        most = int(near.sum(axis=1).argmax())
        points = min(len(np.unique(side[near[most]], axis=0)) for side in (a, b))
        if points > best[0]:
            best = (points, flip, np.median(moves[near[most]], axis=0))
    return best[1], tuple(float(value) for value in best[2]), best[0]  # type: ignore[return-value]


def _most_along_each_axis(moves: Array, tolerance_mm: float) -> NDArray[np.intp]:
    """(3,) how many moves at most lie within the tolerance of one place, each axis by itself: no fewer than on all axes at once."""
    ordered = np.sort(moves, axis=0)
    rows = np.arange(len(ordered))
    return np.array([(np.searchsorted(axis, axis + 2 * tolerance_mm, side="right") - rows).max() for axis in ordered.T])


def _unflipped(moving: sitk.Image, candidate: Candidate) -> tuple[sitk.Image, tuple[float, ...]]:
    """The second scan flipped back, and the translation from the first to it in mm."""
    flipped = [sign < 0 for sign in candidate.flip]
    length = [(n - 1) * edge for n, edge in zip(moving.GetSize(), moving.GetSpacing(), strict=True)]
    offset = tuple(end - move if turned else move for end, move, turned in zip(length, candidate.offset_mm, flipped, strict=True))
    if not any(flipped):
        return moving, offset
    turned = sitk.Flip(moving, flipped)
    turned.SetOrigin((0.0, 0.0, 0.0))
    turned.SetDirection(moving.GetDirection())
    return turned, offset


def _blurred_to(image: sitk.Image, spacing_mm: tuple[float, ...]) -> sitk.Image:
    """Blurred along axes where the other scan's voxels are clearly longer."""
    ratios = [theirs / ours for theirs, ours in zip(spacing_mm, image.GetSpacing(), strict=True)]
    sigmas = [0.4 * np.sqrt(ratio**2 - 1) if ratio > 1.5 else 0.0 for ratio in ratios]  # in voxels
    if not any(sigmas):
        return image
    return sitk.DiscreteGaussian(image, [max(s, 1e-3) ** 2 for s in sigmas], 64, 0.01, False)


def _ones(image: sitk.Image) -> sitk.Image:
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return ones


def _translation(fixed: sitk.Image, moving: sitk.Image, start_mm: tuple[float, ...]) -> sitk.Transform:
    """The translation near the start at which the scans correlate best, found coarse to fine on a fixed sample of voxels."""
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsCorrelation()
    registration.SetMetricSamplingStrategy(registration.REGULAR)
    registration.SetMetricSamplingPercentagePerLevel([min(1.0, SAMPLES / (np.prod(fixed.GetSize()) / shrunk)) for shrunk in (8, 1)])
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 40, gradientMagnitudeTolerance=1e-8)
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetShrinkFactorsPerLevel([2, 1])
    registration.SetSmoothingSigmasPerLevel([2.0, 0.0])
    registration.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    registration.SetNumberOfThreads(1)
    registration.SetInitialTransform(sitk.TranslationTransform(3, start_mm), inPlace=False)
    try:
        return registration.Execute(fixed, moving)
    except RuntimeError:  # hardly any overlap
        return sitk.TranslationTransform(3, start_mm)
