"""Masks that are known to be a little wrong: what agreement looks like when nothing but the outline's place changed."""

from collections.abc import Sequence

import numpy as np

from nnunet_da.radiomics.signed_distance import resized

DEFAULT_MM = (0.5, 1.0)


def null_masks(reference: np.ndarray, distance_mm: np.ndarray, by_mm: Sequence[float] = DEFAULT_MM) -> dict[str, np.ndarray]:
    """The reference eroded and dilated by each distance, by the names of the tables ("reference_eroded_0.5mm").

    Agreement of the reference with these is the yardstick for a prediction. A correlation hardly moves when every mask loses the same
    share of its volume, so a prediction says something only where it agrees better than a mask that is wrong by so many millimetres.

    Args:
        reference: boolean, (Z, Y, X).
        distance_mm: its `signed_distance_mm`.
        by_mm: distances above 0.
    """
    return {
        null_name(sign, by): resized(reference, distance_mm, -by if sign == "eroded" else by)
        for by in by_mm
        for sign in ("eroded", "dilated")
    }


def null_name(sign: str, by_mm: float) -> str:
    """ "reference_eroded_0.5mm" of "eroded" and 0.5."""
    return f"reference_{sign}_{by_mm:g}mm"


def mask_names(by_mm: Sequence[float]) -> list[str]:
    """Every mask of a case, the reference first, in the order of the tables."""
    return ["reference", "prediction", *(null_name(sign, by) for by in by_mm for sign in ("eroded", "dilated"))]
