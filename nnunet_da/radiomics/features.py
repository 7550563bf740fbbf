"""Radiomics features of one mask, computed by pyradiomics on the original image."""

import logging
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.errors import UserError

INSTALL = "pip install numpy setuptools wheel, then pip install --no-build-isolation pyradiomics==3.0.1 (Python 3.10 or 3.11, a C compiler)"
SILENT = logging.CRITICAL + 10


class UndefinedFeaturesError(Exception):
    """The mask has no features; the message says why."""


class FeatureExtractor:
    """pyradiomics with one parameter file.

    Args:
        settings_file: parameter file of pyradiomics; default `plans/radiomics/default.yaml`, the 107 features in three dimensions.

    Raises:
        UserError: pyradiomics is not installed, or the file is missing or not a parameter file.
    """

    def __init__(self, settings_file: Path | None = None) -> None:
        self.settings_file = settings_file or default_settings_file()
        if not self.settings_file.is_file():
            raise UserError(f"a parameter file of pyradiomics was expected, but {self.settings_file} does not exist: check --settings.")
        self._extractor = _load(self.settings_file)
        self._extractor.addProvenance(False)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a value, as plain data."""
        return {
            "setting": self._extractor.settings,
            "imageType": self._extractor.enabledImagetypes,
            "featureClass": self._extractor.enabledFeatures,
        }

    @property
    def needs_whole_image(self) -> bool:
        """Filters, resampling and normalisation look beyond the mask: then nothing is cropped."""
        setting = self._extractor.settings
        looks_beyond = setting.get("normalize") or setting.get("resampledPixelSpacing")
        return bool(looks_beyond) or set(self._extractor.enabledImagetypes) != {"Original"}

    def __call__(self, image: sitk.Image, mask: np.ndarray) -> dict[str, float]:
        """Features of the True voxels of a mask.

        Args:
            image: the scan in its own units and type; its values enter as they are.
            mask: boolean, (Z, Y, X), on the image's grid.

        Returns:
            pyradiomics' name ("original_glcm_Contrast") -> value; NaN where pyradiomics gives none.

        Raises:
            UndefinedFeaturesError: the mask is empty, has one voxel, or fewer dimensions than the settings ask for.
        """
        voxels = int(np.count_nonzero(mask))
        if voxels < 2:
            raise UndefinedFeaturesError("empty mask" if voxels == 0 else "one voxel")
        try:
            found = self._extractor.execute(_without_overflow(image), mask_on_grid(mask, image), label=1)
        except ValueError as error:
            raise UndefinedFeaturesError(str(error)) from error
        return {name: float(value) for name, value in found.items() if not name.startswith("diagnostics_")}


def is_installed() -> bool:
    """Whether pyradiomics is there."""
    return find_spec("radiomics") is not None


def default_settings_file() -> Path:
    """The parameter file of the 107 features that ships with the package."""
    return paths.plans_dir() / "radiomics" / "default.yaml"


def mask_on_grid(mask: np.ndarray, image: sitk.Image) -> sitk.Image:
    """A boolean array (Z, Y, X) as an image of 0 and 1 on the grid of another image."""
    on_grid = sitk.GetImageFromArray(mask.astype(np.uint8))
    on_grid.CopyInformation(image)
    return on_grid


def _without_overflow(image: sitk.Image) -> sitk.Image:
    """The same values as float64: pyradiomics counts on from the largest voxel in the image's own type, where NumPy 2 overflows."""
    return sitk.Cast(image, sitk.sitkFloat64)


def family_of(feature: str) -> str:
    """ "glcm" of "original_glcm_Contrast"."""
    return feature.split("_")[-2] if feature.count("_") > 1 else ""


def _load(settings_file: Path) -> Any:
    extractor_class = _extractor_class()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the way pykwalify loads its extensions
            return extractor_class(str(settings_file))
    except Exception as error:  # pykwalify and its YAML reader have many kinds, none under one name
        reason = " ".join(str(error).split())
        raise UserError(f"{settings_file} must be a parameter file of pyradiomics, got {type(error).__name__}: {reason}") from error


@cache
def _extractor_class() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it finds its own classes in an outdated way
            import radiomics
            from radiomics.featureextractor import RadiomicsFeatureExtractor
    except ImportError as error:
        raise UserError(f"radiomics needs pyradiomics, which is not installed ({error}): {INSTALL}.") from error
    radiomics.setVerbosity(SILENT)
    logging.getLogger("pykwalify").setLevel(SILENT)
    return RadiomicsFeatureExtractor
