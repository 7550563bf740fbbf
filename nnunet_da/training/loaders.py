"""Batches of two domains from stock loaders, drawn and padded alike, the same ones whenever a seeded run is resumed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunet_da.errors import UserError
from nnunet_da.training.randomness import own_randomness, seed_for

PADDING_LABEL = -1  # nnU-Net's mark of voxels outside the image


class MarkPadding(BasicTransform):
    """Append a channel to the image: 1 inside the scan, 0 in padding."""

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        inside = data_dict["segmentation"][:1] != PADDING_LABEL
        data_dict["image"] = torch.cat([data_dict["image"], inside.to(data_dict["image"].dtype)])
        return data_dict


def mark_padding(transforms: ComposeTransforms) -> ComposeTransforms:
    """Insert `MarkPadding` where the augmentation is done and the padding's label not yet removed."""
    position = next(i for i, transform in enumerate(transforms.transforms) if isinstance(transform, RemoveLabelTansform))
    transforms.transforms.insert(position, MarkPadding())
    return transforms


class PooledDataset:
    """Several preprocessed target datasets as one, for nnU-Net's loader; a case is named `dataset/case`.

    The files are those found at the start: one that vanishes or changes during training is an error, not another training.
    """

    def __init__(self, datasets: dict[str, Any]) -> None:
        self.datasets = datasets
        self.identifiers = [f"{name}/{case}" for name, dataset in datasets.items() for case in dataset.identifiers]
        self._stamps = {identifier: self._stamp(identifier) for identifier in self.identifiers}

    def load_case(self, identifier: str) -> Any:
        """Raises UserError where a file of the case is gone, changed or unreadable."""
        self.check(identifier)
        name, case = identifier.split("/", 1)
        try:
            return self.datasets[name].load_case(case)
        except Exception as error:
            raise UserError(f"the preprocessed target scan {identifier} must be readable, it is not ({error}): {_REMEDY}") from error

    def check(self, identifier: str | None = None) -> None:
        """Compare a case (None for all) with the start of the training.

        Raises:
            UserError: a file is gone or has changed.
        """
        for case in self.identifiers if identifier is None else [identifier]:
            if self._stamp(case) != self._stamps[case]:
                raise UserError(
                    f"the preprocessed target scan {case} must stay as it is during training, it was changed or deleted: {_REMEDY}"
                )

    def _stamp(self, identifier: str) -> list[tuple[int, int] | None]:
        name, case = identifier.split("/", 1)
        folder = Path(self.datasets[name].source_folder)
        return [_size_and_time(folder / f"{case}{kind}") for kind in (".b2nd", "_seg.b2nd", ".pkl")]


_REMEDY = "run `nnunet-da preprocess` again, then continue with --c"


class SeededBatches:
    """Batches number `start`, `start` + 1, ... of a seeded loader; split over workers, worker i of n makes every n-th one.

    Batch number k depends on the seeds and on k alone, whatever was drawn before and by how many workers.
    """

    def __init__(self, loader: Iterator[dict[str, Any]], key: tuple[int, ...], start: int, workers: int) -> None:
        self.loader, self.key, self.stride = loader, key, max(1, workers)
        self._start = self._next = start

    def set_thread_id(self, worker: int) -> None:
        """Called by batchgenerators in each worker. A forked worker lacks the threads that torch remembers, and would wait for them."""
        torch.set_num_threads(1)
        self._next = self._start + worker

    def __iter__(self) -> "SeededBatches":
        return self

    def __next__(self) -> dict[str, Any]:
        with own_randomness(seed_for(*self.key, self._next)):
            self._next += self.stride
            return next(self.loader)


class PairedLoader:
    """One batch of each domain at a time: the source's keys as in stock nnU-Net, the target's with `_target` behind."""

    def __init__(self, source: Iterator[dict[str, Any]], target: Iterator[dict[str, Any]]) -> None:
        self.source, self.target = source, target

    def __iter__(self) -> "PairedLoader":
        return self

    def __next__(self) -> dict[str, Any]:
        target = next(self.target)
        return {**next(self.source), "data_target": target["data"], "keys_target": target["keys"]}


class GuardedLoader:
    """Calls `explain` when the workers have died: they say why on the console alone. It may raise something clearer."""

    def __init__(self, loader: Iterator[dict[str, Any]], explain: Callable[[], None]) -> None:
        self.loader, self.explain = loader, explain

    def __iter__(self) -> "GuardedLoader":
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            return next(self.loader)
        except RuntimeError:
            self.explain()
            raise


def augmenter(
    loader: nnUNetDataLoader, processes: int, cached: int, pin_memory: bool, key: tuple[int, ...] | None, start: int
) -> Iterator[dict[str, Any]]:
    """Run a loader in this process (0) or in workers.

    Args:
        processes: number of workers.
        cached: batches that wait, over all workers.
        pin_memory: for faster copies to a GPU.
        key: whole numbers that seed the batches, such as (seed, rank, stream), or None for unseeded ones in any order, as stock makes them.
        start: number of the first batch; seeded batches continue there.
    """
    if key is None:
        if processes == 0:
            return SingleThreadedAugmenter(loader, None)
        return NonDetMultiThreadedAugmenter(loader, None, processes, num_cached=cached, pin_memory=pin_memory, wait_time=0.002)
    batches = SeededBatches(loader, key, start, processes)
    if processes == 0:
        return batches
    return MultiThreadedAugmenter(batches, None, processes, max(1, cached // processes), None, pin_memory, wait_time=0.002)


def finish(loader: Any) -> None:
    """Stop the workers behind a loader, if it has any."""
    for part in (loader, *(getattr(loader, name, None) for name in ("source", "target", "loader"))):
        if isinstance(part, (NonDetMultiThreadedAugmenter, MultiThreadedAugmenter)):
            part._finish()
        elif part is not None and part is not loader:
            finish(part)


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
