"""No test case may be a training case, under whatever name."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from nnunet_da.conversion.records import sha256
from nnunet_da.datasets import find_dataset
from nnunet_da.errors import UserError
from nnunet_da.study.file import ScoredSet
from nnunet_da.study.study import Study


def refuse_trained_tests(study: Study, datasets: Collection[str] | None = None) -> None:
    """Compare the scans of all test sets with all training scans, by content.

    Scans of a target that are scored on purpose (`imagesTr`) are compared with the source's alone: no arm trains on their labels then.

    Args:
        datasets: those that are there to be looked at, None for all of the study.

    Raises:
        UserError: a test scan is a training scan; both are named.
    """

    def scans(sets: Iterable[ScoredSet]) -> list[Path]:
        return [scan for one in sets if datasets is None or one.dataset in datasets for scan in _scans(one)]

    labelled, unlabelled = scans([ScoredSet(study.source, "imagesTr")]), scans(ScoredSet(name, "imagesTr") for name in study.targets)
    on_purpose, others = scans(filter(study.transductive, study.tests)), scans(itertools.filterfalse(study.transductive, study.tests))
    for test, training in (*same_content(on_purpose, labelled), *same_content(others, [*labelled, *unlabelled])):
        raise UserError(
            f"a test case must not be a training case, {_named(test)} holds the same scan as {_named(training)}: take one of them out"
        )


def same_content(some: list[Path], others: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Pairs of files with the same bytes. Only files whose size another one has are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in others:
        by_size[file.stat().st_size].append(file)
    content = functools.cache(sha256)
    for file in some:
        for other in by_size.get(file.stat().st_size, []):
            if content(file) == content(other):
                yield file, other


def _scans(scored: ScoredSet) -> list[Path]:
    dataset = find_dataset(scored.dataset)
    if scored.images == "imagesTr":
        return [file for files in dataset.training_images().values() for file in files]
    return sorted((dataset.folder / scored.images).glob(f"*{dataset.file_ending}"))


def _named(file: Path) -> str:
    return "/".join(file.parts[-3:])
