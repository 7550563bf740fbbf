"""Batches of two domains from two stock loaders, drawn and padded alike."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

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
    """Several preprocessed datasets as one, for nnU-Net's loader; a case is named `dataset/case`."""

    def __init__(self, datasets: dict[str, Any]) -> None:
        self.datasets = datasets
        self.identifiers = [f"{name}/{case}" for name, dataset in datasets.items() for case in dataset.identifiers]

    def load_case(self, identifier: str) -> Any:
        name, case = identifier.split("/", 1)
        return self.datasets[name].load_case(case)


class RandomStream:
    """Batches from a random state of their own, so that no other consumer of randomness changes them."""

    def __init__(self, loader: Iterator[dict[str, Any]], seed: int) -> None:
        self.loader = loader
        with _preserved_states():
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            self._states = _states()

    def __iter__(self) -> "RandomStream":
        return self

    def __next__(self) -> dict[str, Any]:
        with _preserved_states():
            _set_states(self._states)
            try:
                return next(self.loader)
            finally:
                self._states = _states()


class PairedLoader:
    """One batch of each domain at a time: the source's keys as in stock nnU-Net, the target's with `_target` behind."""

    def __init__(self, source: Iterator[dict[str, Any]], target: Iterator[dict[str, Any]]) -> None:
        self.source, self.target = source, target

    def __iter__(self) -> "PairedLoader":
        return self

    def __next__(self) -> dict[str, Any]:
        target = next(self.target)
        return {**next(self.source), "data_target": target["data"], "keys_target": target["keys"]}


def augmenter(loader: nnUNetDataLoader, processes: int, cached: int, pin_memory: bool, seeds: list[int] | None) -> Iterator[dict[str, Any]]:
    """Run a loader in this process (0) or in workers, as stock nnU-Net does; `seeds` are those of `worker_seeds`, or None for none."""
    if processes == 0:
        batches = SingleThreadedAugmenter(loader, None)
        return batches if seeds is None else RandomStream(batches, seeds[0])
    return NonDetMultiThreadedAugmenter(loader, None, processes, num_cached=cached, seeds=seeds, pin_memory=pin_memory, wait_time=0.002)


def worker_seeds(processes: int, *key: int) -> list[int]:
    """A seed per worker (one where there is none), unrelated between keys such as (seed, rank, stream)."""
    return [int(state) for state in np.random.SeedSequence(key).generate_state(max(1, processes))]


def finish(loader: Any) -> None:
    """Stop the workers behind a loader, if it has any."""
    for part in (loader, *(getattr(loader, name, None) for name in ("source", "target", "loader"))):
        if isinstance(part, NonDetMultiThreadedAugmenter):
            part._finish()


def _states() -> tuple[Any, Any, torch.Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_states(states: tuple[Any, Any, torch.Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@contextmanager
def _preserved_states() -> Iterator[None]:
    states = _states()
    try:
        yield
    finally:
        _set_states(states)
