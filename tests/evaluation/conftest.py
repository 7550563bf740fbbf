"""Small folders of references and predictions."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

SPACING_MM = (2.5, 0.8, 0.9)  # Z, Y, X


def write_volume(array: np.ndarray, file: Path, spacing_mm=SPACING_MM, origin=(-10.0, 5.0, 3.0)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin(origin[: array.ndim])
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file), True)
    return file


@pytest.fixture
def write() -> Callable[..., Path]:
    """array, file, spacing_mm, origin -> the file."""
    return write_volume


def write_metric_files(folder: Path, scores: dict, *, domain="B", method=None, layout=1) -> Path:
    rows = [f"{case},{domain},{label},{metric},{value},mm" for (case, label), row in scores.items() for metric, value in row.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text("\n".join(["case,domain,label,metric,value,unit", *rows, ""]))
    if method:
        manifest = {"layout": layout, "method": method, "labels": {"1": "femur"}, "cases": []}
        (folder / "evaluation.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def write_metrics() -> Callable[..., Path]:
    """folder, {(case, label): {metric: text}}, domain, method, layout -> the folder, with what `evaluate` writes as far as it matters."""
    return write_metric_files


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """references, predictions and images of four cases with labels 1 and 2, a dataset.json beside the predictions.

    case_2 has an empty prediction of label 2, case_3 has no label 2 on either side.
    """
    rng = np.random.default_rng(5)
    for index in range(4):
        reference = np.zeros((8, 20, 22), np.uint8)
        reference[2:6, 4:12, 5:14] = 1
        reference[2:6, 13:18, 5 + index : 14] = 2
        prediction = np.roll(reference, (0, 1, 0), (0, 1, 2))
        prediction[rng.random(reference.shape) < 0.01] = 1
        if index == 2:
            prediction[prediction == 2] = 0
        if index == 3:
            reference[reference == 2] = 0
            prediction[prediction == 2] = 0
        write_volume(reference, tmp_path / "references" / f"case_{index}.nii.gz")
        write_volume(prediction, tmp_path / "predictions" / f"case_{index}.nii.gz")
        write_volume(reference.astype(np.int16) * 300 - 100, tmp_path / "images" / f"case_{index}_0000.nii.gz")
    write_dataset_json(tmp_path / "predictions", {"background": 0, "head": 1, "shaft": 2})
    return tmp_path


def write_dataset_json(folder: Path, labels: dict) -> None:
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz"}
    if any(isinstance(value, list) for value in labels.values()):
        description["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(description))


@pytest.fixture
def set_labels() -> Callable[[Path, dict], None]:
    """folder, labels -> its dataset.json."""
    return write_dataset_json


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two blobs that differ, often cut by the border, and an anisotropic spacing."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(6, 26, 3)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1)
    return field > 0, field + 0.2 * noise > rng.normal() * 0.02, rng.uniform(0.3, 4, 3)


@pytest.fixture
def random_pair() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """seed -> two masks, spacing_mm."""
    return blobs


def by_monai(reference: np.ndarray, prediction: np.ndarray, spacing_mm: np.ndarray) -> dict[str, float]:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    first, second = torch.from_numpy(prediction[None, None]), torch.from_numpy(reference[None, None])
    options = {"include_background": True, "spacing": list(spacing_mm)}
    values = {
        "hd_mm": compute_hausdorff_distance(first, second, **options),
        "hd95_mm": compute_hausdorff_distance(first, second, percentile=95, **options),
        "asd_mm": compute_average_surface_distance(first, second, symmetric=True, **options),
        "asd_reference_to_prediction_mm": compute_average_surface_distance(second, first, **options),
        "asd_prediction_to_reference_mm": compute_average_surface_distance(first, second, **options),
        "nsd_1mm": compute_surface_dice(first, second, [1.0], **options),
        "nsd_2.5mm": compute_surface_dice(first, second, [2.5], **options),
    }
    return {name: float(value) for name, value in values.items()}


@pytest.fixture
def monai_values() -> Callable[..., dict[str, float]]:
    """reference, prediction, spacing_mm -> our metric names with MONAI's values."""
    return by_monai
