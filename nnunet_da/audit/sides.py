"""Are scans mirrored or turned against those of the source? By header, by content, by what the converter noted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

AXES = {"left-right": 2, "front-back": 1, "head-feet": 0}  # of an array in LPS order
CLEAR_SHARE = 0.9  # of the source's scans that must agree with their mean scan before anything is said
CLEAR_MARGIN = 0.08  # median gain in correlation over the mirror image
FEWEST = 3  # scans of the source that make a mean

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Flips:
    """What the content says about one axis.

    Attributes:
        axis: "left-right", "front-back" or "head-feet" of the array as nnU-Net reads it, were it in LPS order.
        informative: whether the source's scans differ from their own mirror images alike; else nothing can be said.
        margins: per scan, correlation with the source's mean scan minus that of its mirror image; negative looks mirrored.
        mirrored: positions of the scans that look mirrored.
    """

    axis: str
    informative: bool
    margins: list[float]
    mirrored: list[int]


def flips_by_content(thumbnails: list[Array], is_source: list[bool]) -> list[Flips]:
    """Compare every scan with the mean of the source's scans, and with its mirror image; a source scan with the mean of the others.

    Args:
        thumbnails: (16, 16, 16) each, z, y, x, of the whole scan as nnU-Net reads it.
        is_source: whether a scan belongs to the source.
    """
    stack = np.stack(thumbnails).astype(np.float64)
    source = np.array(is_source)
    if source.sum() < FEWEST:
        return [Flips(name, False, [], []) for name in AXES]
    total, count = stack[source].sum(axis=0), int(source.sum())
    means = [(total - one) / (count - 1) if own else total / count for one, own in zip(stack, source, strict=True)]
    return [_flips(name, axis, stack, means, source) for name, axis in AXES.items()]


def orientations(codes: Mapping[str, list[str]]) -> tuple[dict[str, dict[str, int]], str]:
    """Orientation codes per dataset with their counts, and a warning where nnU-Net would see arrays that run differently.

    Args:
        codes: dataset -> the code of each scan, such as "LPS".
    """
    counted = {dataset: dict(Counter(found)) for dataset, found in codes.items()}
    kinds = sorted({code for found in codes.values() for code in found})
    if len(kinds) < 2:
        return counted, ""
    mirrored = sorted({axis for code in kinds[1:] for axis in _turned(kinds[0], code)})
    how = f"along {', '.join(mirrored)}" if mirrored else "with other axes"
    return counted, f"arrays are stored in different orders ({', '.join(kinds)}), and nnU-Net does not turn them: they run apart {how}"


MIRRORED = ", mirrored"  # marks a side whose scans were flipped onto the other's


def sides_noted(folders: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """Dataset -> side -> cases, from the columns `side` and `mirrored` of conversion.csv where they are; "right, mirrored" looks left."""
    found = {}
    for dataset, folder in folders.items():
        file = folder / "conversion.csv"
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
        except (OSError, ValueError):
            continue
        if {"case", "side"} <= set(table):
            cases = table.drop_duplicates("case")
            sides = cases["side"].str.strip()
            if "mirrored" in cases:
                sides = sides.where(cases["mirrored"] != "yes", sides + MIRRORED)
            found[dataset] = {str(side): int(count) for side, count in sides[sides != ""].value_counts().items()}
    return {dataset: sides for dataset, sides in found.items() if sides}


def seen_as(side: str) -> str:
    """The side of the body that a scan of a noted side looks like."""
    body = side.removesuffix(MIRRORED)
    return {"left": "right", "right": "left"}.get(body, body) if side.endswith(MIRRORED) else body


def _flips(name: str, axis: int, stack: NDArray, means: list[NDArray], source: NDArray[np.bool_]) -> Flips:
    margins = np.array([_correlation(one, mean) - _correlation(np.flip(one, axis), mean) for one, mean in zip(stack, means, strict=True)])
    own = margins[source]
    informative = bool((own > 0).mean() >= CLEAR_SHARE and np.median(own) >= CLEAR_MARGIN)
    mirrored = np.flatnonzero(margins < -0.25 * np.median(own)) if informative else np.zeros(0, int)
    return Flips(name, informative, [float(value) for value in margins], [int(place) for place in mirrored])


def _correlation(a: NDArray, b: NDArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def _turned(first: str, second: str) -> list[str]:
    opposite = {"L": "R", "R": "L", "A": "P", "P": "A", "I": "S", "S": "I"}
    names = {"L": "left-right", "R": "left-right", "A": "front-back", "P": "front-back", "I": "head-feet", "S": "head-feet"}
    return [names[a] for a, b in zip(first, second, strict=True) if opposite[a] == b]
