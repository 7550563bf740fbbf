from dataclasses import asdict, replace

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.errors import UserError
from nnunet_da.phantom import population
from nnunet_da.phantom.cohort import SWITCHES, Window, centre, draw_scanner, label_protocol, scan_case
from nnunet_da.phantom.population import Population, draw_patient, draw_pose

SMALL = Window(size_mm=(170, 170, 170), pixel_mm=2.5, slice_scale=2.0)


def as_image(array, case):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(case.spacing_mm[::-1])
    image.SetOrigin(case.origin_mm)
    return image


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_a_seed_fixes_everything_and_another_changes_it():
    first, again, other = (scan_case(centre("rochester"), seed, window=SMALL) for seed in (4, 4, 5))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, again.label)
    assert first.patient == again.patient
    assert first.patient != other.patient
    assert first.image.dtype == np.int16
    assert first.label.dtype == np.uint8


def test_identical_centres_are_one_law():
    """Severity 0 without the population switch: from one seed the two centres give the very same scan, so no probe can tell them apart."""
    cases = [scan_case(centre(name, 0, population=False), 7, window=SMALL) for name in ("tulane", "rochester")]
    assert np.array_equal(cases[0].image, cases[1].image)
    assert np.array_equal(cases[0].label, cases[1].label)
    assert cases[0].patient == cases[1].patient
    assert cases[0].scanner == cases[1].scanner
    for seed in range(50):
        scanners = [draw_scanner(centre(name, 0), seed) for name in ("tulane", "rochester")]
        assert scanners[0] == scanners[1]


def test_severity_one_is_the_paper():
    tulane, rochester = draw_scanner(centre("tulane"), 1), draw_scanner(centre("rochester"), 1)
    assert (tulane.slice_mm, tulane.output_slice_mm, tulane.kernel, tulane.kilovolt) == (2.5, None, "standard", 120)
    assert (rochester.slice_mm, rochester.output_slice_mm, rochester.kernel, rochester.kilovolt) == (2.0, 3.0, "b30s", 120)
    pixels = [draw_scanner(centre("rochester"), seed).pixel_mm for seed in range(100)]
    assert 0.695 <= min(pixels) < 0.72
    assert 0.96 < max(pixels) <= 0.986
    hard = draw_scanner(centre("rochester", 2), 1)
    assert hard.kernel == "bone"
    assert hard.kilovolt == 100
    assert 50 <= hard.noise_hu <= 90
    assert hard.contrast_hu >= 10


@pytest.mark.parametrize(
    ("switch", "fields"),
    [
        ("kernel", {"kernel"}),
        ("noise", {"noise_hu", "streak_hu"}),
        ("slice", {"slice_mm", "output_slice_mm"}),
        ("voltage", {"kilovolt"}),
        ("calibration", {"offset_hu", "slope"}),
        ("cupping", {"cupping_hu"}),
        ("contrast", {"contrast_hu"}),
    ],
)
def test_a_scanner_switch_changes_its_own_fields_and_nothing_else(switch, fields):
    plain, changed = (asdict(draw_scanner(centre("rochester", 0, **{switch: on}), 3)) for on in (False, True))
    assert {key for key in plain if plain[key] != changed[key]} == fields
    assert asdict(draw_scanner(centre("tulane", 0, **{switch: True}), 3)) == plain  # one centre moves, the other stays


@pytest.mark.parametrize("switch", ["joint", "cortex", "population", "positioning", "label_protocol"])
def test_the_other_switches_leave_the_scanner_alone(switch):
    assert draw_scanner(centre("rochester", 0, **{switch: True}), 3) == draw_scanner(centre("rochester", 0, **{switch: False}), 3)


def test_cortex_switch_decides_whether_cortex_thins_with_age():
    old, young = Population(0.0, 85, 90), Population(0.0, 20, 25)
    thick = [draw_patient(young, s).cortex_superior_neck_mm for s in range(60)]
    thin = [draw_patient(old, s).cortex_superior_neck_mm for s in range(60)]
    kept = [draw_patient(old, s, cortex_by_age=False).cortex_superior_neck_mm for s in range(60)]
    assert min(thick) >= 0.95
    assert 0.3 <= min(thin) < 0.5
    assert max(thin) <= 1.05
    assert np.median(kept) == pytest.approx(np.median(thick), abs=0.1)
    one, other = draw_patient(old, 1), draw_patient(old, 1, cortex_by_age=False)
    changed = {key for key, value in asdict(one).items() if value != asdict(other)[key]}
    assert changed
    assert all("cortex" in key for key in changed)


def test_joint_switch_and_how_often_bones_touch():
    old = Population(0.5, 61, 90)
    spaces = np.array([draw_patient(old, s).joint_space_mm for s in range(600)])
    assert 0.10 <= (spaces < 0.5).mean() <= 0.20
    healthy = [draw_patient(old, s, joint_by_age=False) for s in range(100)]
    assert min(p.joint_space_mm for p in healthy) >= 3
    one, other = draw_patient(old, 3), draw_patient(old, 3, joint_by_age=False)
    changed = {key for key, value in asdict(one).items() if value != asdict(other)[key]}
    assert changed <= {"joint_space_mm", "osteophyte_mm"}
    spurs = {draw_patient(old, s).osteophyte_mm for s in range(300)} - {0.0}
    assert spurs
    assert min(spurs) >= 2
    assert max(spurs) <= 6


def test_populations():
    men = [draw_patient(population.TULANE, s) for s in range(200)]
    mixed = [draw_patient(population.ROCHESTER, s) for s in range(400)]
    assert {p.sex for p in men} == {"M"}
    assert min(p.age_years for p in men) >= 20
    assert max(p.age_years for p in men) <= 50
    assert np.mean([p.sex == "F" for p in mixed]) == pytest.approx(216 / 397, abs=0.08)
    assert min(p.age_years for p in mixed) >= 27
    assert 85 < max(p.age_years for p in mixed) <= 90
    for p in men + mixed:
        assert 115 <= p.neck_shaft_angle_deg <= 140
        assert 0 <= p.anteversion_deg <= 25


def test_density_falls_with_age():
    young = [draw_patient(Population(0, 20, 25), s).trabecular_neck for s in range(50)]
    old = [draw_patient(Population(0, 80, 85), s).trabecular_neck for s in range(50)]
    assert min(young) >= 145
    assert max(old) <= 95


def test_positioning_varies_more_when_switched_on():
    turns = [np.std([draw_pose(s, spread).rotation_deg for s in range(200)]) for spread in (1.0, 2.5)]
    assert turns[1] == pytest.approx(2.5 * turns[0], rel=1e-6)


def test_label_protocol_moves_the_shaft_cut_and_the_contour_only():
    plain, drawn = (centre("rochester", 0, label_protocol=on) for on in (False, True))
    assert label_protocol(plain) == label_protocol(centre("tulane", 2))
    window = replace(SMALL, size_mm=(210, 180, 180))
    first, second = scan_case(plain, 2, window=window), scan_case(drawn, 2, window=window)
    assert second.label.sum() > 1.05 * first.label.sum()
    lower = [c.origin_mm[2] + np.nonzero(c.label)[0].min() * c.spacing_mm[0] for c in (first, second)]
    assert lower[0] - lower[1] == pytest.approx(12 * first.patient.size, abs=first.spacing_mm[0] + 0.1)


def test_label_lies_inside_with_a_margin_and_is_one_piece():
    from scipy import ndimage

    for seed in range(3):
        case = scan_case(centre("rochester", 1), seed, window=SMALL)
        where = np.nonzero(case.label)
        for axis, (index, size) in enumerate(zip(where, case.label.shape, strict=True)):
            margin = min(index.min(), size - 1 - index.max()) * case.spacing_mm[axis]
            assert margin >= 8, (seed, axis, margin)
        assert ndimage.label(case.label)[1] == 1
        assert 60e3 < case.label.sum() * np.prod(case.spacing_mm) < 220e3


def test_default_case_has_the_papers_shape():
    case = scan_case(centre("tulane", 1), 3)
    assert case.image.shape[1:] == (192, 192)
    assert 37 <= case.image.shape[0] <= 95
    assert case.spacing_mm[0] == 2.5
    assert 0.69 < case.spacing_mm[1] < 0.99
    assert case.image.min() < -950
    assert -60 < np.median(case.image[case.image > -300]) < 120
    assert np.median(case.image[case.label > 0]) > 100
    assert case.origin_mm[0] + 96 * case.spacing_mm[2] > 60  # a left hip: x is positive


def test_same_patient_on_both_scanners_is_the_same_bone_and_a_repeat_differs_in_noise_only():
    first = scan_case(centre("tulane", 1), 11, window=SMALL)
    second = scan_case(centre("rochester", 1), 12, patient=first.patient, pose=first.pose, window=SMALL)
    moved = sitk.Resample(as_image(second.label, second), as_image(first.label, first), sitk.Transform(), sitk.sitkNearestNeighbor)
    assert dice(first.label > 0, sitk.GetArrayFromImage(moved) > 0) > 0.9
    repeat = scan_case(centre("tulane", 1), 11, noise_seed=99, window=SMALL)
    assert np.array_equal(first.label, repeat.label)
    assert not np.array_equal(first.image, repeat.image)
    difference = (first.image - repeat.image)[first.label > 0]
    assert abs(difference.mean()) < 2
    assert difference.std() / np.sqrt(2) < 4 * first.scanner.noise_hu


def test_bad_input_says_what_was_expected():
    with pytest.raises(UserError, match="centre must be one of tulane, rochester"):
        centre("mayo")
    with pytest.raises(UserError, match="severity must be one of 0, 1, 2"):
        centre("tulane", 3)
    with pytest.raises(UserError, match="got weather"):
        centre("tulane", weather=True)
    with pytest.raises(UserError, match="True or False"):
        centre("tulane", kernel="b30s")
    with pytest.raises(UserError, match="window_mm must be three sizes"):
        Window(size_mm=(5, 5, 5))
    with pytest.raises(UserError, match="whole left proximal femur"):
        scan_case(centre("tulane"), 1, window=Window(size_mm=(60, 160, 160), pixel_mm=2.5, slice_scale=2))


def test_every_switch_is_known_to_some_severity():
    assert centre("tulane", 2).differs == set(SWITCHES)
    assert centre("tulane", 1, kernel=False, voltage=True).differs == centre("tulane", 1).differs - {"kernel"} | {"voltage"}
