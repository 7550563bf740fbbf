"""Self-training: a trained model labels the target's training scans, and those it is sure of join the source in a dataset of their own."""

import csv
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.checkpoints import read_checkpoint
from nnunet_da.datasets import RawDataset, find_dataset, read_json
from nnunet_da.errors import UserError
from nnunet_da.export.run import Run, find_run
from nnunet_da.merging import Merged, check_merge, merge_datasets, plans_of_merged, splits_of
from nnunet_da.moved_plans import lineage
from nnunet_da.preprocessing import preprocessing_hash
from nnunet_da.settings import PLANS_KEY
from nnunet_da.stock_predictor import check_other_domain, make_predictor
from nnunet_da.trained_model import same_values

RECORD = "pseudo_labels.csv"


@dataclass(frozen=True)
class SelfTrainingRequest:
    """What shall be labelled by what, and where it goes.

    Attributes:
        model_folder: `DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION`, of any trainer.
        target: id or name of the dataset whose imagesTr are labelled.
        new_id, new_name: of the dataset to write.
        folds: "0", "1", ... or "all", averaged as in prediction; none for every numbered one.
        checkpoint: "final", "best" or "latest".
        confidence: least mean probability of a scan's predicted foreground.
        mirroring: whether predictions are averaged over mirrored scans.
        device: "cpu" or "cuda".
        overwrite: replace a merged dataset of before.
    """

    model_folder: Path
    target: str
    new_id: int
    new_name: str
    folds: tuple[str, ...] = ()
    checkpoint: str = "final"
    confidence: float = 0.9
    mirroring: bool = True
    device: str = "cpu"
    overwrite: bool = False


@dataclass(frozen=True)
class PseudoLabelled:
    """What was written.

    Attributes:
        dataset: source and pseudo-labelled target cases.
        plans_name, configuration, trainer: to train it as the model was trained.
        preprocessed_configuration: the one to preprocess, whose data the configuration shares.
        has_targets: whether the plans name unlabelled targets, which `nnunet-da preprocess` preprocesses too.
        confidences: target case -> confidence, None where nothing was found in it.
        kept: cases that joined.
    """

    dataset: RawDataset
    plans_name: str
    configuration: str
    preprocessed_configuration: str
    trainer: str
    has_targets: bool
    confidences: dict[str, float | None]
    kept: tuple[str, ...]


def pseudo_label(request: SelfTrainingRequest) -> PseudoLabelled:
    """Predict, keep the scans the model is sure of, and write them with the source's cases under the source's plans.

    Every fold validates on the source's cases of that fold, and trains on all pseudo-labelled ones. Labels of the target are never opened.
    All that can be seen beforehand is checked before the first scan is predicted.

    Raises:
        UserError: no run, a target that does not fit or whose scans the model was trained on, plans that changed since then, a name that
            is taken, or no scan with enough confidence; nothing is left then, and nothing replaced.
    """
    run = find_run(request.model_folder, list(request.folds), request.checkpoint)
    source, target = find_dataset(run.plans["dataset_name"]), find_dataset(request.target)
    check_other_domain(run, target)
    if not 0 <= request.confidence <= 1:
        raise UserError(f"the confidence must be between 0 and 1, got {request.confidence}")
    check_merge(source, target, request.new_id, request.new_name, own_labels=False, overwrite=request.overwrite)
    checkpoint = read_checkpoint(next(iter(run.checkpoints.values())))
    configuration = checkpoint["init_args"]["configuration"]
    _check_plans(run, source, configuration)
    splits_of(source)
    labels = Path(tempfile.mkdtemp(prefix=".pseudo_labels_", dir=paths.nnunet_raw()))
    try:
        confidences = _predict(run, target, labels, request)
        kept = _sure(confidences, request.confidence)
        dataset = _merge(source, target, labels, kept, confidences, run.plans["plans_name"], configuration, request)
    finally:
        shutil.rmtree(labels, ignore_errors=True)
    settings = _resolved(run.plans, configuration).get(PLANS_KEY, {})
    return PseudoLabelled(
        dataset=dataset,
        plans_name=run.plans["plans_name"],
        configuration=configuration,
        preprocessed_configuration=lineage(run.plans["configurations"], configuration)[0],
        trainer=checkpoint["trainer_name"],
        has_targets=bool(settings.get("target_datasets")),
        confidences=confidences,
        kept=tuple(kept),
    )


def _check_plans(run: Run, source: RawDataset, configuration: str) -> None:
    """The plans that training will use must be those of the model; settings of ours may differ."""
    name = run.plans["plans_name"]
    file = paths.nnunet_preprocessed() / source.name / f"{name}.json"
    present = read_json(file, f"the plans {name} of the model must stand in nnUNet_preprocessed")
    if configuration not in present.get("configurations", {}):
        raise UserError(f"{file} must hold the configuration {configuration} of the model: put the model's own plans.json there")
    before, now = _resolved(run.plans, configuration), _resolved(present, configuration)
    changed = [key for key in dict.fromkeys((*before, *now)) if key != PLANS_KEY and not same_values(before.get(key), now.get(key))]
    if not changed and preprocessing_hash(run.plans, before) != preprocessing_hash(present, now):
        changed = ["preprocessing"]  # what stands above the configurations, such as the intensities of normalisation
    if changed:
        raise UserError(f"{file} must be as the model was trained, but '{changed[0]}' has changed: train the model anew, or put it back")


def _resolved(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    return PlansManager(plans).get_configuration(configuration).configuration


def _predict(run: Run, target: RawDataset, labels: Path, request: SelfTrainingRequest) -> dict[str, float | None]:
    """A label map per scan, by stock nnU-Net's preprocessing, network call and export; case -> confidence."""
    from tqdm import tqdm

    predictor = make_predictor(run, list(run.checkpoints), request.device, mirroring=request.mirroring)
    label_case = _labeller(predictor, labels)
    images = target.training_images()
    return {case: label_case(case, files) for case, files in tqdm(images.items(), desc=f"Labelling {target.name}")}


def _labeller(predictor: Any, labels: Path) -> Callable[[str, list[Path]], float | None]:
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape as to_image

    from nnunet_da.adaptation.self_training import case_confidence

    plans, configuration, task = predictor.plans_manager, predictor.configuration_manager, predictor.label_manager
    preprocessor, writer = configuration.preprocessor_class(verbose=False), plans.image_reader_writer_class()

    def label_case(case: str, files: list[Path]) -> float | None:
        data, _, properties = preprocessor.run_case([str(file) for file in files], None, plans, configuration, predictor.dataset_json)
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        segmentation, probabilities = to_image(
            logits, plans, configuration, task, properties, return_probabilities=True, num_threads_torch=torch.get_num_threads()
        )
        writer.write_seg(segmentation, str(labels / f"{case}{predictor.dataset_json['file_ending']}"), properties)
        return case_confidence(probabilities, segmentation, task.has_regions)

    return label_case


def _sure(confidences: dict[str, float | None], least: float) -> list[str]:
    kept = [case for case, confidence in confidences.items() if confidence is not None and confidence >= least]
    if not kept:
        best = max((confidence for confidence in confidences.values() if confidence is not None), default=None)
        found = "the model found nothing in any scan" if best is None else f"the surest has {best:.3f}"
        raise UserError(f"at least one scan must reach a confidence of {least:g}, {found}: lower --confidence, or use a better model")
    return kept


def _merge(
    source: RawDataset,
    target: RawDataset,
    labels: Path,
    kept: list[str],
    confidences: dict[str, float | None],
    plans_name: str,
    configuration: str,
    request: SelfTrainingRequest,
) -> RawDataset:
    def finish(merged: Merged) -> None:
        with (merged.dataset.folder / RECORD).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("case", "confidence", "kept"))
            writer.writerows((case, "" if value is None else f"{value:.6f}", case in kept) for case, value in confidences.items())
        plans_of_merged(plans_name, source, merged.dataset, merged.added.values(), configuration, targets="keep")

    new_id, new_name = request.new_id, request.new_name
    return merge_datasets(source, target, new_id, new_name, labels=labels, cases=kept, overwrite=request.overwrite, finish=finish).dataset
