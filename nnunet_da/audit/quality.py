"""Noise and sharpness of a CT, measured without any label.

Both are measured in the slice, on at most `SLICES` slices spread over the scan, so that a scan of any size costs alike.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SLICES = 24
SOFT_TISSUE_HU = (0.0, 120.0)  # of the smoothed slice: muscle and organs, not fat
SMOOTHING_MM = 2.0  # SD of the Gaussian that tells tissue from noise
FLAT_HU_PER_MM = 12.0  # steepest smoothed gradient that still counts as homogeneous
ENOUGH_PIXELS = 500
PROFILE_MM = np.arange(-6, 6.01, 0.2)  # along the gradient, from outside to inside
ENOUGH_PROFILES = 50
MOST_PROFILES = 300  # per slice; more cost time and change nothing
BONE, SKIN = "bone", "skin"
# level of the edge, HU allowed outside (median of the first 2 mm), HU wanted inside
EDGES = {BONE: (400.0, (-150.0, 200.0), (600.0, 2500.0)), SKIN: (-500.0, (-1100.0, -900.0), (-200.0, 200.0))}

Field = NDArray[np.float32]


def measure_quality(volume: NDArray, spacing_mm: tuple[float, ...]) -> dict[str, float]:
    """Noise (HU) and 10-90 % edge widths (mm) of a CT; NaN where the scan does not show enough of the tissue.

    Args:
        volume: (Z, Y, X) HU.
        spacing_mm: Z, Y, X.

    Returns:
        `noise_hu`: robust SD (1.4826 times the median deviation) of each pixel minus the mean of its 5 x 5 pixels, divided by
            sqrt(24 / 25) so that white noise is given as its own SD; over homogeneous soft tissue.
        `edge_bone_mm`, `edge_skin_mm`: the length over which the mean profile along the in-plane gradient rises from 10 to 90 % of
            the step from soft tissue to bone, from air to skin. A step blurred by a Gaussian of SD s gives 2.563 s.
    """
    if min(volume.shape[1:]) < 2:
        return {"noise_hu": float("nan"), **{f"edge_{kind}_mm": float("nan") for kind in EDGES}}
    slices = chosen_slices(volume.shape[0])
    pixel_mm = spacing_mm[1:]
    detail = [homogeneous_detail(volume[k].astype(np.float32), pixel_mm) for k in slices]
    profiles: dict[str, list[Field]] = {kind: [] for kind in EDGES}
    for k in slices:
        around = volume[max(k - 1, 0) : k + 2].astype(np.float32)
        smooth = ndimage.gaussian_filter(around, (0, *(0.75 * SMOOTHING_MM / edge for edge in pixel_mm)))
        middle = min(k, 1)
        tilt = (smooth[-1] - smooth[0]) / (spacing_mm[0] * max(len(smooth) - 1, 1))
        for kind in EDGES:
            profiles[kind].append(edge_profiles(around[middle], smooth[middle], tilt, pixel_mm, kind))
    return {"noise_hu": _noise(np.concatenate(detail)), **{f"edge_{kind}_mm": edge_width(np.concatenate(profiles[kind])) for kind in EDGES}}


def chosen_slices(count: int) -> NDArray[np.intp]:
    """At most `SLICES` slices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, SLICES)).round().astype(np.intp))


def homogeneous_detail(plane: Field, pixel_mm: tuple[float, ...]) -> Field:
    """(N,) HU of each pixel of homogeneous soft tissue minus the mean of its 5 x 5 neighbourhood."""
    smooth = ndimage.gaussian_filter(plane, [SMOOTHING_MM / edge for edge in pixel_mm])
    slope = np.hypot(*np.gradient(smooth, *pixel_mm))
    tissue = (smooth > SOFT_TISSUE_HU[0]) & (smooth < SOFT_TISSUE_HU[1]) & (slope < FLAT_HU_PER_MM)
    tissue = ndimage.binary_erosion(tissue, np.ones((5, 5)))
    return (plane - ndimage.uniform_filter(plane, 5))[tissue]


def edge_profiles(plane: Field, smooth: Field, tilt: Field, pixel_mm: tuple[float, ...], kind: str) -> Field:
    """(N, S) HU along the gradient at edges of one kind that stand upright in the slice, outside first.

    Args:
        plane: (Y, X) HU.
        smooth: the same, smoothed.
        tilt: (Y, X) its change per mm across slices.
    """
    level, outside, inside = EDGES[kind]
    gradient = np.asarray(np.gradient(smooth, *pixel_mm))
    steep = np.hypot(*gradient) + 1e-6
    edge = (np.abs(smooth - level) < 0.5 * min(pixel_mm) * steep) & (np.abs(tilt) < 0.25 * steep) & (steep > 40)
    y, x = (places[:: 1 + len(places) // MOST_PROFILES] for places in np.nonzero(edge))
    normal = gradient[:, y, x] / steep[y, x]
    rows, columns = (
        place[:, None] + along[:, None] * PROFILE_MM / size for place, along, size in zip((y, x), normal, pixel_mm, strict=True)
    )
    within = (
        (rows.min(axis=1, initial=0) >= 0)
        & (columns.min(axis=1, initial=0) >= 0)
        & (rows.max(axis=1, initial=0) <= plane.shape[0] - 1)
        & (columns.max(axis=1, initial=0) <= plane.shape[1] - 1)
    )
    sampled: Field = ndimage.map_coordinates(plane, [rows[within], columns[within]], order=3, mode="nearest")
    before, after = np.median(sampled[:, :11], axis=1), sampled[:, 30:].max(axis=1, initial=-2000)
    good = (before > outside[0]) & (before < outside[1]) & (after > inside[0]) & (after < inside[1])
    return _aligned(sampled[good], before[good], after[good])


def edge_width(profiles: Field) -> float:
    """10-90 % width in mm of the mean of (N, S) profiles; NaN for fewer than `ENOUGH_PROFILES`."""
    if len(profiles) < ENOUGH_PROFILES:
        return float("nan")
    mean = profiles.mean(axis=0)
    low, high = float(np.median(mean[:11])), float(mean[len(mean) // 2 :].max())
    scaled = (mean - low) / (high - low)
    half = int(np.argmax(scaled > 0.5))
    if half == 0:
        return float("nan")
    start, end = _crossing(scaled[half::-1], 0.1, falling=True), _crossing(scaled[half - 1 :], 0.9, falling=False)
    return float((start + end - 1) * (PROFILE_MM[1] - PROFILE_MM[0]))


def _aligned(profiles: Field, before: Field, after: Field) -> Field:
    """Shifted so that each passes the middle of its own step at 0 mm; resampled linearly."""
    step = PROFILE_MM[1] - PROFILE_MM[0]
    middle = 0.5 * (before + after)
    out = []
    for profile, level in zip(profiles, middle, strict=True):
        above = np.flatnonzero((profile[1:] >= level) & (profile[:-1] < level))
        if not len(above):
            continue
        k = above[np.abs(above - len(profile) // 2).argmin()]
        at = PROFILE_MM[k] + step * (level - profile[k]) / (profile[k + 1] - profile[k])
        if abs(at) < 2:
            out.append(np.interp(PROFILE_MM, PROFILE_MM - at, profile))
    return np.array(out, dtype=np.float32).reshape(-1, len(PROFILE_MM))


def _crossing(values: Field, level: float, *, falling: bool) -> float:
    """Index, with fraction, of the first crossing of a level."""
    beyond = values < level if falling else values >= level
    k = int(np.argmax(beyond))
    if not beyond[k] or k == 0:
        return float("nan")
    return k - 1 + float((level - values[k - 1]) / (values[k] - values[k - 1]))


def _noise(detail: Field) -> float:
    if len(detail) < ENOUGH_PIXELS:
        return float("nan")
    return float(1.4826 * np.median(np.abs(detail - np.median(detail))) / np.sqrt(24 / 25))
