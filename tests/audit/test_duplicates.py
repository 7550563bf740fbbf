"""Copies of a scan are found whatever was done to them, and people who look alike are not taken for each other."""

from itertools import combinations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.audit.duplicates import Candidate, candidates, lay_over, local_correlation
from nnunet_da.audit.fingerprint import fingerprint
from nnunet_da.phantom.cohort import Window, centre, scan_case

STEP_MM = 2.2
SMALL = Window(size_mm=(150, 160, 160), pixel_mm=2.0, slice_scale=1.6)


def resampled(image: sitk.Image, spacing: tuple[float, ...], how: int = sitk.sitkLinear) -> sitk.Image:
    size = [int((n - 1) * old / new) + 1 for n, old, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)]
    return sitk.Resample(image, size, sitk.Transform(), how, image.GetOrigin(), spacing, image.GetDirection())


def flipped(image: sitk.Image, *axes: int) -> sitk.Image:
    """The array turned and the header left as it was."""
    out = sitk.GetImageFromArray(np.flip(sitk.GetArrayFromImage(image), axes))
    out.SetSpacing(image.GetSpacing())
    return out


def rescaled(image: sitk.Image) -> sitk.Image:
    return sitk.Cast(sitk.Cast(image, sitk.sitkFloat32) * 0.5 + 100, sitk.sitkInt16)


COPIES = {
    "rescaled": rescaled,
    "slices of 3 mm": lambda image: resampled(image, (*image.GetSpacing()[:2], 3.0)),
    "slices of 3 mm by splines": lambda image: resampled(image, (*image.GetSpacing()[:2], 3.0), sitk.sitkBSpline3),
    "mirrored": lambda image: flipped(image, 2),
    "upside down": lambda image: flipped(image, 0, 1),
    "other orientation": lambda image: sitk.DICOMOrient(image, "RAI"),
    "cropped by 5 mm": lambda image: image[3:-2, 2:, 1:-1],
    "cropped to half": lambda image: image[20:65, 18:66, 6:34],
    "all at once": lambda image: rescaled(resampled(flipped(image[2:, 2:, 1:], 2), (2.0, 2.0, 3.0))),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found(phantoms, tmp_path, copy):
    pair = [phantoms[0], COPIES[copy](phantoms[0])]
    files = [tmp_path / f"{index}.nii.gz" for index in range(2)]
    for image, file in zip(pair, files, strict=True):
        sitk.WriteImage(image, str(file))
    (candidate,) = candidates([fingerprint(image, STEP_MM) for image in pair], STEP_MM)
    match = lay_over(*files, candidate)
    assert match.same
    assert match.correlation > 0.85
    assert match.overlap > 0.9


def test_people_who_look_alike_are_not_taken_for_each_other(phantoms, tmp_path):
    """All pairs are laid over each other, candidates or not."""
    for index, image in enumerate(phantoms):
        sitk.WriteImage(image, str(tmp_path / f"{index}.nii.gz"))
    for a, b in combinations(range(4), 2):
        match = lay_over(tmp_path / f"{a}.nii.gz", tmp_path / f"{b}.nii.gz", Candidate(a, b, (1, 1, 1), (0.0, 0.0, 0.0), 9))
        assert match.correlation < 0.3


def test_another_acquisition_of_one_person_is_no_copy(tmp_path):
    """Nothing but the noise differs: that a patient came twice is for the table of patients to say."""
    here = centre("tulane", 0)
    files = []
    for noise_seed in (1, 2):
        case = scan_case(here, 7, noise_seed=noise_seed, window=SMALL)
        image = sitk.GetImageFromArray(case.image)
        image.SetSpacing(case.spacing_mm[::-1])
        files.append(tmp_path / f"{noise_seed}.nii.gz")
        sitk.WriteImage(image, str(files[-1]))
    assert not lay_over(*files, Candidate(0, 1, (1, 1, 1), (0.0, 0.0, 0.0), 9)).same


def test_few_pairs_of_different_people_are_candidates(phantoms):
    assert len(candidates([fingerprint(image, STEP_MM) for image in phantoms], STEP_MM)) <= 5


def test_copies_have_one_hash_and_others_not(phantoms):
    first, turned, other = (fingerprint(i, STEP_MM) for i in (phantoms[0], sitk.DICOMOrient(phantoms[0], "RAI"), phantoms[1]))
    assert first.exact == turned.exact != other.exact


def test_the_hash_knows_values_and_shape_not_the_type_of_number():
    """Scans too small to search are found by it alone."""
    small = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    other = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(4, 3, 2))
    first, wide, reshaped = (fingerprint(image, 1.0).exact for image in (small, sitk.Cast(small, sitk.sitkFloat64), other))
    assert first == wide != reshaped


def test_the_flip_is_named(phantoms):
    pair = [phantoms[0], flipped(phantoms[0], 2)]
    (candidate,) = candidates([fingerprint(image, STEP_MM) for image in pair], STEP_MM)
    assert candidate.flip == (-1, 1, 1)


def test_local_correlation_by_hand():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 40, 40)).astype(np.float32)
    everywhere = np.ones(a.shape, bool)
    assert local_correlation(a, 3 * a + 7, everywhere, (1, 1, 1)) == pytest.approx(1, abs=1e-3)
    assert local_correlation(a, -a, everywhere, (1, 1, 1)) == pytest.approx(-1, abs=1e-3)
    assert local_correlation(a, b, everywhere, (1, 1, 1)) == pytest.approx(0, abs=0.03)
    assert local_correlation(a, (a + b) / np.sqrt(2), everywhere, (1, 1, 1)) == pytest.approx(0.7, abs=0.03)
    assert local_correlation(a, np.zeros_like(a), everywhere, (1, 1, 1)) == 0


def test_scans_without_content_are_no_candidates():
    plain = [sitk.Image(30, 30, 10, sitk.sitkInt16), sitk.Image(5, 5, 5, sitk.sitkInt16)]
    assert candidates([fingerprint(image, 1.0) for image in plain], 1.0) == []
