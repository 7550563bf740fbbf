import numpy as np
import pytest
import SimpleITK as sitk
from scipy import special

from nnunet_da import paths
from nnunet_da.errors import UserError
from nnunet_da.phantom.cohort import Window, centre, scan_case
from nnunet_da.phantom.patient import Pose
from nnunet_da.phantom.population import Population, draw_patient
from nnunet_da.phantom.realism import TOLERANCES, accepted, edge_width, measure, noise
from nnunet_da.phantom.scanner import Scanner


def test_edge_width_of_a_blurred_rod():
    """A rod of 1300 HU in muscle, its edge an error function of SD 1 mm: 10-90 % is 2.563 mm, and linear interpolation adds a little."""
    spacing = (3.0, 0.5, 0.5)
    y, x = np.mgrid[-32:32:0.5, -32:32:0.5]
    radius = np.hypot(y, x)
    plane = 50 + 1250 * 0.5 * (1 + special.erf((14 - radius) / np.sqrt(2)))
    image = np.repeat(plane[None].astype(np.float32), 20, axis=0)
    label = np.repeat((radius < 14)[None], 20, axis=0).astype(np.uint8)
    assert edge_width(image, label, spacing) == pytest.approx(2.563, rel=0.06)


def test_noise_is_the_sd_less_what_the_local_mean_takes():
    rng = np.random.default_rng(0)
    image = rng.normal(50, 20, (10, 60, 60)).astype(np.float32)
    assert noise(image, np.ones(image.shape, bool)) == pytest.approx(20 * np.sqrt(1 - 1 / 25), rel=0.03)


def test_accepted_interval_by_hand():
    assert accepted([10.0, 14.0, 11.0], 2.0) == (8.0, 16.0)


def test_shapes_must_agree():
    with pytest.raises(UserError, match="one shape with some femur"):
        measure(np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), (1, 1, 1))


@pytest.mark.slow
@pytest.mark.real
def test_phantom_is_inside_the_range_of_the_real_hips():
    """The fast half of benchmarks/phantom_realism.py: medians of five phantoms on the real scans' pixels and slices."""
    folder = paths.test_data_dir()
    if folder is None:
        pytest.skip("no real test data: set NNUNET_DA_TEST_DATA")
    real = []
    for name in ("STS_031", "STS_040", "STS_044"):
        image, label = (sitk.ReadImage(str(folder / "hip_ct_mr" / name / f)) for f in ("ct.nii.gz", "ct_femur_semiauto.nii.gz"))
        real.append(measure(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label), image.GetSpacing()[::-1]))
    machine = Scanner(pixel_mm=0.9765625, slice_mm=3.27, noise_hu=20.0, cupping_hu=10.0)
    phantoms = []
    for seed in range(5):
        patient = draw_patient(Population(0.5, 40, 80), seed)
        pose = Pose(flexion_deg=36, adduction_deg=-5, rotation_deg=-8)
        case = scan_case(centre("tulane", 0), seed, patient=patient, pose=pose, scanner=machine, window=Window(size_mm=(170, 165, 165)))
        phantoms.append(measure(case.image, case.label, case.spacing_mm))
    for key, tolerance in TOLERANCES.items():
        low, high = accepted([r[key] for r in real], tolerance)
        assert low <= np.nanmedian([p[key] for p in phantoms]) <= high, key
