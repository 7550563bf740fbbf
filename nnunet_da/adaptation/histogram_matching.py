"""Histogram matching: give a scan the intensity distribution of another by a monotone change of its intensities.

Gonzalez & Woods, Digital Image Processing (histogram specification); Nyul, Udupa & Zhang, IEEE TMI 19, 2000, who match the quantiles of
scans of one anatomy. Departures: many quantiles and not ten landmarks; intensities that many voxels share, such as clipped air, take the
middle of their ranks and not the last one, so that a scan with more air than the other does not turn it into tissue.
"""

import numpy as np
from numpy.typing import NDArray

LEVELS = 1025  # quantiles that stand for a distribution, the extremes among them


def intensity_quantiles(image: NDArray[np.floating], inside: NDArray[np.bool_], most_voxels: int = 2_000_000) -> NDArray[np.float64]:
    """(C, LEVELS) quantiles of each channel, at equal steps from the lowest to the highest intensity.

    Args:
        image: (C, ...).
        inside: (...), the voxels that count; where there is none, all of them do.
        most_voxels: of a larger image every n-th voxel is taken.
    """
    voxels = image[:, inside] if inside.any() else image.reshape(len(image), -1)
    voxels = voxels[:, :: -(-voxels.shape[1] // most_voxels)]
    return np.quantile(voxels.astype(np.float64), np.linspace(0, 1, LEVELS), axis=1).T


def match_histogram(
    image: NDArray[np.floating], quantiles: NDArray[np.floating], quantiles_reference: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Replace each intensity by the one that has its rank in the reference.

    Args:
        image: (C, ...) of the scan, or a part of it.
        quantiles: (C, LEVELS) of the whole scan; intensities beyond its extremes count as these.
        quantiles_reference: (C, LEVELS) of the other scan.

    Returns:
        (C, ...) with intensities between the reference's extremes.

    Raises:
        ValueError: another number of channels.
    """
    if not len(image) == len(quantiles) == len(quantiles_reference):
        raise ValueError(
            f"image and quantiles must have the same channels, got {len(image)}, {len(quantiles)} and {len(quantiles_reference)}."
        )
    levels = np.linspace(0, 1, quantiles_reference.shape[1])
    matched = np.empty(image.shape, dtype=np.float32)
    for channel, (own, reference) in enumerate(zip(quantiles, quantiles_reference, strict=True)):
        intensities, ranks = _ranks(own)
        matched[channel] = np.interp(image[channel], intensities, np.interp(ranks, levels, reference))
    return matched


def _ranks(quantiles: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Different intensities, rising, and the rank of each in [0, 1]: where several quantiles are one intensity, their middle."""
    intensities, first, count = np.unique(quantiles, return_index=True, return_counts=True)
    return intensities, (first + (count - 1) / 2) / (len(quantiles) - 1)
