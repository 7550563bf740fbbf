"""Scans that a run did not learn from, of both domains, preprocessed alike. Labels are never opened."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_da import paths
from nnunet_da.datasets import find_dataset
from nnunet_da.diagnosis.runs import Run
from nnunet_da.errors import UserError
from nnunet_da.preprocessing import target_cache
from nnunet_da.training.held_out_features import PADDING_LABEL, Scan

MIN_CASES = 5  # per domain: fewer cannot be split into five folds, and would tell nothing


@dataclass(frozen=True)
class HeldOutCase:
    """One scan.

    Attributes:
        case, dataset: as nnU-Net names them.
        images: raw files, one per channel; empty where it is preprocessed already.
        folder: of the preprocessed scan.
    """

    case: str
    dataset: str
    images: tuple[Path, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class HeldOut:
    """Scans of both domains.

    Attributes:
        notes: where they come from, in words.
        transductive: whether target scans were seen in training, without labels.
    """

    source: list[HeldOutCase]
    target: list[HeldOutCase]
    transductive: bool = False
    notes: list[str] = field(default_factory=list)

    def too_few(self) -> str | None:
        """Why a probe cannot be assessed, None where it can."""
        for domain, cases in (("source", self.source), ("target", self.target)):
            if len(cases) < MIN_CASES:
                return f"it needs {MIN_CASES} held-out cases per domain, there are {len(cases)} of the {domain}"
        return None


def held_out_cases(run: Run) -> HeldOut:
    """The fold's validation cases and the source's imagesTs; the targets' imagesTs and training scans that the settings left out.

    Where these are fewer than five of the target, its training scans are taken too and the result says so.
    """
    validation, test = _validation_cases(run), raw_test_cases(run.dataset_name)
    notes = [f"source: {len(validation)} validation cases of fold {run.fold} and {len(test)} of imagesTs"]
    unseen: list[HeldOutCase] = []
    seen: list[HeldOutCase] = []
    for name, chosen in run.settings["target_datasets"].items():
        cached = _cached_cases(run, name)
        unseen += raw_test_cases(name) + [case for case in cached if chosen is not None and case.case not in chosen]
        seen += [case for case in cached if chosen is None or case.case in chosen]
    transductive = len(unseen) < MIN_CASES and bool(seen)
    notes.append(f"target: {len(unseen)} scans that training never saw (imagesTs)")
    if transductive:
        notes[-1] = f"target, transductive: {len(seen)} scans seen unlabelled in training, {len(unseen)} not seen (imagesTs)"
    return HeldOut(validation + test, unseen + (seen if transductive else []), transductive, notes)


def read_scans(run: Run, cases: list[HeldOutCase]) -> Iterator[Scan]:
    """One preprocessed scan after the other, every one by the run's own plans.

    Raises:
        UserError: an image cannot be read.
    """
    for case in cases:
        try:
            data, segmentation = _preprocessed(case) if case.folder is not None else _preprocess(run, case)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"case '{case.case}' of {case.dataset} cannot be read ({error}): remake or remove it") from error
        yield Scan(f"{case.dataset}/{case.case}", data, segmentation != PADDING_LABEL)


def _preprocessed(case: HeldOutCase) -> tuple[np.ndarray, np.ndarray]:
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    data, segmentation, *_ = infer_dataset_class(str(case.folder))(str(case.folder), [case.case]).load_case(case.case)
    return np.asarray(data[:], dtype=np.float32), np.asarray(segmentation[:1])


def _preprocess(run: Run, case: HeldOutCase) -> tuple[np.ndarray, np.ndarray]:
    """Stock preprocessing without a segmentation, as for prediction."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans_manager = PlansManager(run.plans)
    configuration = plans_manager.get_configuration(run.configuration_name)
    preprocessor = configuration.preprocessor_class(verbose=False)
    images = [str(file) for file in case.images]
    data, segmentation, _ = preprocessor.run_case(images, None, plans_manager, configuration, run.dataset_json)
    return data.astype(np.float32, copy=False), segmentation[:1]


def _validation_cases(run: Run) -> list[HeldOutCase]:
    return [case for name in validation_names(run) if (case := _training_case(run, name)) is not None]


def validation_names(run: Run) -> list[str]:
    """Validation cases of the fold; none for fold "all" or where the splits are not at hand."""
    try:
        splits = json.loads((paths.nnunet_preprocessed() / run.dataset_name / "splits_final.json").read_text())
        return list(splits[int(run.fold)]["val"])
    except (UserError, OSError, ValueError, IndexError, KeyError):
        return []


def _training_case(run: Run, name: str) -> HeldOutCase | None:
    folder = paths.nnunet_preprocessed() / run.dataset_name / run.configuration["data_identifier"]
    if (folder / f"{name}.pkl").is_file():
        return HeldOutCase(name, run.dataset_name, folder=folder)
    images = _raw_images(run.dataset_name, "imagesTr").get(name)
    return None if images is None else HeldOutCase(name, run.dataset_name, images)


def _cached_cases(run: Run, target: str) -> list[HeldOutCase]:
    """The target's training scans from the cache, none where there is no whole one."""
    try:
        cache = target_cache(run.dataset_name, target, run.configuration)
        return [HeldOutCase(case, target, folder=cache.folder) for case in cache.check(run.plans, run.configuration)]
    except UserError:
        return []


def raw_test_cases(dataset: str) -> list[HeldOutCase]:
    """Scans of a dataset's imagesTs, none where it is not at hand."""
    return [HeldOutCase(case, dataset, images) for case, images in _raw_images(dataset, "imagesTs").items()]


def _raw_images(dataset: str, folder: str) -> dict[str, tuple[Path, ...]]:
    """Case -> its files, one per channel; empty where the raw dataset is not at hand."""
    try:
        return {case: tuple(files) for case, files in find_dataset(dataset).scans(folder).items()}
    except UserError:
        return {}
