"""Self-training: how far a network trusts its own segmentation of a scan, to choose the scans it is trained on again.

Lee, Pseudo-label, ICML workshop 2013; whole scans are chosen and not voxels, as in Yang et al., ST++, CVPR 2022, arXiv:2106.05095.
"""

import numpy as np
from numpy.typing import NDArray


def case_confidence(probabilities: NDArray[np.floating], segmentation: NDArray[np.integer], has_regions: bool = False) -> float | None:
    """Mean probability of what was predicted, over the predicted foreground; the easy background would hide all else.

    Args:
        probabilities: (K, ...) softmax over labels, background first; with regions a sigmoid for each of K regions.
        segmentation: (...) label map made of them.
        has_regions: see above. A region that was not predicted at a voxel counts with the probability of its absence.

    Returns:
        In (0, 1], None where there is no foreground.
    """
    foreground = segmentation > 0
    if not foreground.any():
        return None
    predicted = probabilities[:, foreground]
    certainty = np.maximum(predicted, 1 - predicted).mean(axis=0) if has_regions else predicted.max(axis=0)
    return float(certainty.mean(dtype=np.float64))
