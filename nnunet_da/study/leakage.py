"""No test case may be a training case, under whatever name."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from nnunet_da.conversion.records import sha256
from nnunet_da.datasets import find_dataset
from nnunet_da.errors import UserError
from nnunet_da.study.study import Study


def refuse_trained_tests(study: Study) -> None:
    """Compare the scans of all test sets with all training scans, by content.

    Scans of a target that are scored on purpose (`imagesTr`) are no finding: no arm trains on their labels then.

    Raises:
        UserError: a test scan is a training scan; both are named.
    """
    trained = [scan for name in [study.source, *study.targets] for scan in _scans(name, "imagesTr")]
    tested = [scan for test in study.tests if not study.transductive(test) for scan in _scans(test.dataset, test.images)]
    for test, training in same_content(tested, trained):
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


def _scans(name: str, images: str) -> list[Path]:
    dataset = find_dataset(name)
    if images == "imagesTr":
        return [file for files in dataset.training_images().values() for file in files]
    return sorted((dataset.folder / images).glob(f"*{dataset.file_ending}"))


def _named(file: Path) -> str:
    return "/".join(file.parts[-3:])
