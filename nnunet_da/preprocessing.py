"""Preprocess the source by stock nnU-Net, and target scans on the source's plans into a cache of their own.

No label of a target is ever opened: its scans go through the stock preprocessor with no segmentation at all.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nnunet_da import __version__, paths
from nnunet_da.datasets import RawDataset, find_dataset, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.integrity import check_readable
from nnunet_da.planning import check_domains, check_plans
from nnunet_da.settings import settings_from_plans


@dataclass(frozen=True)
class TargetCache:
    """Preprocessed scans of one target dataset, in the source's preprocessed folder.

    Attributes:
        folder: nothing but nnU-Net's own file types.
        record: JSON beside it: hash of what preprocessing depends on, the cases, and the scans they were made from.
        target_name: the target dataset.
    """

    folder: Path
    record: Path
    target_name: str

    def check(self, plans: dict[str, Any], configuration: dict[str, Any]) -> list[str]:
        """Cases of the cache.

        Raises:
            UserError: the cache is missing, incomplete, or was made with other plans.
        """
        remedy = "run `nnunet-da preprocess` again"
        if not self.record.is_file() or not self.folder.is_dir():
            raise UserError(f"the target scans must be preprocessed in {self.folder}, but they are not there: {remedy}")
        record = read_json(self.record, "the target cache needs its record")
        if record.get("preprocessing_hash") != preprocessing_hash(plans, configuration):
            raise UserError(f"the target cache {self.folder.name} must fit the plans, but it was made with other ones: {remedy}")
        kinds = (".b2nd", "_seg.b2nd", ".pkl")
        missing = [case for case in record["cases"] if not all((self.folder / f"{case}{kind}").is_file() for kind in kinds)]
        if missing:
            raise UserError(f"the target cache {self.folder.name} must be complete, but '{missing[0]}' is missing from it: {remedy}")
        if self.scans is not None and self.scans != record.get("scans"):
            raise UserError(f"the scans of {self.target_name} must be those in the target cache, but they have changed since: {remedy}")
        return list(record["cases"])

    @property
    def scans(self) -> dict[str, int] | None:
        """Name and bytes of the target's scans, None where the raw dataset is not at hand (on a compute node, say)."""
        try:
            return scan_sizes(find_dataset(self.target_name))
        except UserError:
            return None


def target_cache(source_name: str, target_name: str, configuration: dict[str, Any]) -> TargetCache:
    """Where the target's preprocessed scans stand."""
    base = paths.nnunet_preprocessed() / source_name
    name = f"{configuration['data_identifier']}_target_{target_name}"
    return TargetCache(base / name, base / f"{name}.json", target_name)


def scan_sizes(target: RawDataset) -> dict[str, int]:
    """File name -> bytes of every training scan."""
    return {file.name: file.stat().st_size for files in target.training_images().values() for file in files}


def preprocessing_hash(plans: dict[str, Any], configuration: dict[str, Any]) -> str:
    """Hash of every entry of the plans that changes preprocessed voxels."""
    of_plans = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")
    of_configuration = ("data_identifier", "preprocessor_name", "spacing", "normalization_schemes", "use_mask_for_norm")
    resampling = [key for key in configuration if key.startswith(("resampling_fn_data", "resampling_fn_seg"))]
    relevant = {key: plans[key] for key in of_plans} | {key: configuration[key] for key in (*of_configuration, *resampling)}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def preprocess(source_id: str, plans_name: str, configuration_name: str, processes: int, targets_only: bool = False) -> list[Path]:
    """Preprocess the source by stock code and every target of the plans on the source's plans.

    Returns:
        The folders written, source first.

    Raises:
        UserError: plans of another dataset, a variant instead of its parent, unreadable images; nothing is deleted or written then.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    source = find_dataset(source_id)
    if not re.fullmatch(r"\w+", plans_name, re.ASCII):
        raise UserError(f"plans are named, such as PFDAformerPlans, got '{plans_name}': give the name without folder and ending")
    plans_file = paths.nnunet_preprocessed() / source.name / f"{plans_name}.json"
    plans = read_json(plans_file, f"{source.name} needs the plans {plans_name}, made by `nnunet-da plan -d {source.dataset_id}`")
    check_plans(plans, source.name, configuration_name)
    _refuse_variant(plans, configuration_name)
    configuration = PlansManager(plans).get_configuration(configuration_name).configuration
    targets = [find_dataset(name) for name in settings_from_plans(configuration).target_datasets]
    check_domains(source, targets, needs_target=False)  # plans of a baseline may name none
    if targets_only and not targets:
        raise UserError("these plans name no target dataset, so --targets-only leaves nothing to do: leave it out, or plan with -t")
    check_readable(source, targets, processes)  # before the stock preprocessor empties its output folder
    written = [] if targets_only else [_preprocess_source(source, plans_name, configuration_name, processes)]
    return written + [_preprocess_target(source, target, plans, configuration_name, processes) for target in targets]


def _refuse_variant(plans: dict[str, Any], configuration_name: str) -> None:
    parent = plans["configurations"][configuration_name].get("inherits_from")
    if parent is not None:
        raise UserError(
            f"'{configuration_name}' is a variant that shares the preprocessed data of '{parent}', preprocessing it would delete them:"
            f" preprocess '{parent}' instead"
        )


def _preprocess_source(source: RawDataset, plans_name: str, configuration_name: str, processes: int) -> Path:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset

    preprocess_dataset(source.dataset_id, plans_name, [configuration_name], [processes])
    return paths.nnunet_preprocessed() / source.name / f"{plans_name}_{configuration_name}"


def _preprocess_target(source: RawDataset, target: RawDataset, plans: dict[str, Any], configuration_name: str, processes: int) -> Path:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    configuration = PlansManager(plans).get_configuration(configuration_name).configuration
    cache = target_cache(source.name, target.name, configuration)
    temporary = cache.folder.with_name(f".{cache.folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    images = target.training_images()
    try:
        preprocess_scans(images, temporary, plans, configuration_name, source.description, processes, f"Preprocessing target {target.name}")
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    cache.record.unlink(missing_ok=True)
    shutil.rmtree(cache.folder, ignore_errors=True)
    temporary.replace(cache.folder)
    record = {
        "preprocessing_hash": preprocessing_hash(plans, configuration),
        "cases": sorted(images),
        "scans": scan_sizes(target),
        "nnunet_da": __version__,
    }
    write_json(record, cache.record)
    return cache.folder


def preprocess_scans(
    images: dict[str, list[Path]],
    folder: Path,
    plans: dict[str, Any],
    configuration_name: str,
    dataset_json: dict[str, Any],
    processes: int,
    title: str,
) -> None:
    """Preprocess scans without labels by stock nnU-Net into a new folder of its own file types.

    Args:
        images: case -> one file per channel.
        folder: made here.
        plans, configuration_name, dataset_json: of the data that the network is trained on.
        title: of the progress bar.
    """
    from tqdm import tqdm

    folder.mkdir(parents=True)
    jobs = [
        _TargetJob([str(file) for file in files], str(folder / case), plans, configuration_name, dataset_json)
        for case, files in images.items()
    ]
    for _ in tqdm(_run(_preprocess_target_case, jobs, processes), total=len(jobs), desc=title):
        pass


@dataclass(frozen=True)
class _TargetJob:
    images: list[str]
    output: str
    plans: dict[str, Any]
    configuration_name: str
    dataset_json: dict[str, Any]


def _preprocess_target_case(job: _TargetJob) -> None:
    import numpy as np
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans_manager = PlansManager(job.plans)
    configuration = plans_manager.get_configuration(job.configuration_name)
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, seg, properties = preprocessor.run_case(job.images, None, plans_manager, configuration, job.dataset_json)
    data, seg = data.astype(np.float32, copy=False), seg.astype(np.int16, copy=False)
    properties["class_locations"] = {}  # a target has no foreground that anyone may know
    blocks, chunks = comp_blosc2_params(data.shape, tuple(configuration.patch_size), data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(seg.shape, tuple(configuration.patch_size), seg.itemsize)
    nnUNetDatasetBlosc2.save_case(
        data, seg, properties, job.output, chunks=chunks, blocks=blocks, chunks_seg=chunks_seg, blocks_seg=blocks_seg
    )


def _run(function: Callable[[_TargetJob], None], jobs: list[_TargetJob], processes: int) -> Iterator[None]:
    """In this process for one, else in spawned ones (importing nnU-Net costs each of them seconds)."""
    if processes <= 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    with ProcessPoolExecutor(min(processes, len(jobs), os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, jobs)
