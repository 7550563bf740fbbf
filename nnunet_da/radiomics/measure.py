"""Everything that is measured in one case: features and endpoints of the reference, the prediction and the nulls."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.errors import UserError
from nnunet_da.evaluation.boxes import bounding_box
from nnunet_da.evaluation.label_maps import differing_geometry, read_geometry, read_image, read_label_map
from nnunet_da.evaluation.labels import Labels, mask_of
from nnunet_da.radiomics.cases import RadiomicsCase
from nnunet_da.radiomics.endpoints import BoneSettings, bone_endpoints
from nnunet_da.radiomics.features import FeatureExtractor, UndefinedFeaturesError
from nnunet_da.radiomics.nulls import DEFAULT_MM, null_masks
from nnunet_da.radiomics.signed_distance import reach_voxels, signed_distance_mm


@dataclass(frozen=True)
class MeasureSettings:
    """What to measure.

    Attributes:
        settings_file: parameter file of pyradiomics, None for the one that ships with the package.
        bone: how endpoints are measured.
        nulls_mm: by how much the reference is eroded and dilated for the null; empty for none.

    Raises:
        UserError: a distance that is not above 0, or twice.
    """

    settings_file: Path | None = None
    bone: BoneSettings = field(default_factory=BoneSettings)
    nulls_mm: tuple[float, ...] = DEFAULT_MM

    def __post_init__(self) -> None:
        if not all(0 < by < np.inf for by in self.nulls_mm) or len(set(self.nulls_mm)) < len(self.nulls_mm):
            raise UserError(f"the null's distances must be above 0 mm and each another, got {list(self.nulls_mm)}.")


@dataclass(frozen=True)
class MaskValues:
    """Of one mask: features (empty where undefined, then with the reason) and endpoints."""

    features: dict[str, float]
    endpoints: dict[str, float]
    undefined: str | None = None


@dataclass(frozen=True)
class CaseValues:
    """Of one case: label key -> mask name -> values, and how long it took."""

    labels: dict[str, dict[str, MaskValues]]
    seconds: float


def measure_case(case: RadiomicsCase, labels: Labels, settings: MeasureSettings) -> CaseValues:
    """Read the files of a case and measure every label.

    Raises:
        UnreadableError: a file is damaged.
        UserError: the grids differ, or a label map holds no labels.
    """
    start = time.perf_counter()
    extract = _extractor(settings.settings_file)
    check_grids(case)
    image = read_image(case.image)
    if image.GetDimension() != 3:
        raise UserError(
            f"{case.image} must have three dimensions, got {image.GetDimension()}: features and endpoints are those of volumes."
        )
    reference, prediction = read_label_map(case.reference)[0], read_label_map(case.prediction)[0]
    if labels.ignore is not None:
        prediction = np.where(reference == labels.ignore, 0, prediction)
    values = {
        str(label): measure_masks(image, mask_of(reference, label), mask_of(prediction, label), extract, settings) for label in labels.names
    }
    return CaseValues(values, time.perf_counter() - start)


def measure_masks(
    image: sitk.Image, reference: np.ndarray, prediction: np.ndarray, extract: FeatureExtractor, settings: MeasureSettings
) -> dict[str, MaskValues]:
    """Mask name -> values, for the reference, the prediction and the nulls.

    All work is done in the box around the masks with a margin that nothing looks beyond; the values are those of the whole image (a
    test compares them), because pyradiomics, too, sees no farther than the mask. With settings that do look farther nothing is cropped.

    Args:
        image: the scan.
        reference: boolean, (Z, Y, X), on the image's grid.
        prediction: boolean, same shape.
        extract: see `FeatureExtractor`.
        settings: what to measure.
    """
    spacing_mm = image.GetSpacing()[::-1]
    box = _box_of(reference | prediction, reach_voxels(max(settings.nulls_mm, default=0.0), spacing_mm))
    image_box = image[tuple(slice(part.start, part.stop) for part in box[::-1])]
    masks = {"reference": reference[box], "prediction": prediction[box]}
    distances = {name: signed_distance_mm(mask, spacing_mm) for name, mask in masks.items() if mask.any() and not mask.all()}
    if "reference" in distances:
        masks |= null_masks(masks["reference"], distances["reference"], settings.nulls_mm)
    voxels = sitk.GetArrayFromImage(image_box)
    found = {}
    for name, mask in masks.items():
        endpoints = bone_endpoints(voxels, mask, spacing_mm, settings.bone, distances.get(name))
        try:
            if extract.needs_whole_image:
                found[name] = MaskValues(extract(image, _in_whole(mask, box, reference.shape)), endpoints)
            else:
                found[name] = MaskValues(extract(image_box, mask), endpoints)
        except UndefinedFeaturesError as error:
            found[name] = MaskValues({}, endpoints, str(error))
    return found


def check_grids(case: RadiomicsCase) -> None:
    """Compare the headers of a case.

    Raises:
        UnreadableError: a file is damaged.
        UserError: the grids of image, reference and prediction differ.
    """
    expected = read_geometry(case.image)
    for kind, file in (("reference", case.reference), ("prediction", case.prediction)):
        found = read_geometry(file)
        differing = differing_geometry(expected, found)
        if differing:
            raise UserError(
                f"case {case.case}: image and {kind} must have the same {differing} (x, y, z), got {getattr(expected, differing)} and "
                f"{getattr(found, differing)}. Nothing is resampled here: name the images that the masks were drawn on."
            )


def _box_of(masks: np.ndarray, margin_voxels: Sequence[int]) -> tuple[slice, ...]:
    """One voxel where there is no mask: SimpleITK knows no image without voxels."""
    return bounding_box(masks, margin_voxels) if masks.any() else (slice(0, 1),) * masks.ndim


def _in_whole(mask: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, bool)
    whole[box] = mask
    return whole


@cache
def _extractor(settings_file: Path | None) -> FeatureExtractor:
    """One per process."""
    return FeatureExtractor(settings_file)
