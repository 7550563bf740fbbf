from dataclasses import replace

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.phantom import femur
from nnunet_da.phantom.anatomy import Anatomy
from nnunet_da.phantom.grid import Grid
from nnunet_da.phantom.patient import Patient, Pose

PATIENT = Patient(5, "M", 40)
LOW, HIGH = (-110.0, -60.0, 50.0), (40.0, 60.0, 175.0)


@pytest.fixture(scope="module")
def anatomy():
    return Anatomy(PATIENT, Pose(), LOW, HIGH)


def label_grid(step=1.0):
    shape = tuple(int((h - lo) / step) for lo, h in zip(LOW, HIGH, strict=True))
    return Grid(shape, (step,) * 3, LOW)


def test_volume_and_place_of_the_femur(anatomy):
    grid = label_grid()
    label = anatomy.label(grid, -85.0)
    assert 80 < label.sum() / 1000 < 200  # ml
    z, _y, x = np.nonzero(label)
    assert grid.axis(0)[z.max()] == pytest.approx(PATIENT.head_radius_mm, abs=1.5)  # the head's top
    assert grid.axis(0)[z.min()] == pytest.approx(-85, abs=1)
    assert grid.axis(2)[x.min()] == pytest.approx(PATIENT.hip_half_distance_mm - PATIENT.head_radius_mm, abs=1.5)


def test_head_is_medial_trochanters_where_they_belong():
    marks = femur.landmarks(PATIENT)
    x, y, _ = marks.neck_shaft
    assert x > 30  # the shaft lies lateral of the head: to the patient's left
    assert y > 0  # and, by anteversion, behind it
    lesser = marks.lesser_trochanter
    assert lesser[0] < x
    assert lesser[1] > y
    cosine = np.dot(marks.neck_direction, [0, 0, -1])  # head to shaft, against the shaft's downward axis
    assert 180 - np.degrees(np.arccos(cosine)) == pytest.approx(PATIENT.neck_shaft_angle_deg, abs=1e-3)
    horizontal = np.degrees(np.arctan2(marks.neck_direction[1], marks.neck_direction[0]))
    assert horizontal == pytest.approx(PATIENT.anteversion_deg, abs=1e-3)


def test_flexion_lifts_the_shaft_to_the_front():
    knee = femur.to_patient_axes((40.0, 0.0, -200.0), Pose(flexion_deg=30, adduction_deg=0))
    assert knee[1] < -90
    assert knee[2] > -180
    at = femur.to_femur_frame(tuple(np.array([v]) for v in knee), Pose(flexion_deg=30, adduction_deg=0))
    np.testing.assert_allclose(np.ravel(at), (40, 0, -200), atol=1e-4)


def test_label_at_half_the_spacing_is_the_same_bone(anatomy):
    coarse, fine = anatomy.label(label_grid(2.0), -85.0), anatomy.label(label_grid(1.0), -85.0)
    assert coarse.sum() * 8 == pytest.approx(fine.sum(), rel=0.02)


def test_contour_shift_moves_the_surface_by_that_much(anatomy):
    grid = label_grid()
    plain, wider = anatomy.label(grid, -85.0), anatomy.label(grid, -85.0, 1.0)
    assert (wider >= plain).all()
    head = grid.axis(0) > 5  # only the ball: its volume grows like the cube of the radius, above the neck's cut
    r = PATIENT.head_radius_mm
    growth = wider[head].sum() / plain[head].sum() - 1
    cap = lambda radius: np.pi * (radius - 5.5) ** 2 * (2 * radius + 5.5) / 3  # noqa: E731
    assert growth == pytest.approx(cap(r + 1) / cap(r) - 1, abs=0.03)


@pytest.mark.parametrize("thickness", [0.3, 1.0])
def test_a_thin_cortex_keeps_its_mass_at_any_sampling_step(thickness):
    """Mineral of the shell alone, integrated at 0.5 and at 1.25 mm: it is thickness times area times density either way."""
    shell = replace(PATIENT, cortex_shaft_mm=thickness, cortex_trochanter_mm=thickness, cortex_head_mm=thickness)
    shell = replace(shell, cortex_superior_neck_mm=thickness, cortex_inferior_neck_mm=thickness, trabecular_head=0, trabecular_neck=0)
    shell = replace(shell, trabecular_trochanter=0, ward_density=0)
    lattice = Anatomy(shell, Pose(adduction_deg=0, flexion_deg=0), (-110, -40, 100), (-85, 50, 165))
    masses = []
    for step in (0.5, 1.25):
        y, x = np.arange(-35, 45, step, dtype=np.float32), np.arange(105, 165, step, dtype=np.float32)
        slabs = [lattice.sampler(y, x).slab(z, z + step).mineral.sum() for z in np.arange(-105, -95, step)]
        masses.append(sum(slabs) * step**3)
    assert masses[0] == pytest.approx(masses[1], rel=0.04)
    perimeter = 2 * np.pi * (shell.shaft_radius_mm - thickness / 2)
    assert masses[0] == pytest.approx(perimeter * thickness * 10 * shell.cortical_density, rel=0.1)


def test_both_hips_are_mirror_images_and_only_the_left_is_labelled():
    whole = Anatomy(PATIENT, Pose(), (-10, -60, -150), (10, 60, 150))
    x = np.arange(-150, 151, 1.0, dtype=np.float32)
    material = whole.sampler(np.arange(-60, 61, 1.0, dtype=np.float32), x).slab(-1.0, 0.0)
    np.testing.assert_allclose(material.mineral, material.mineral[:, ::-1], atol=0.5)
    label = whole.label(Grid((3, 121, 301), (1.0, 1.0, 1.0), (-1.0, -60.0, -150.0)), -85.0)
    assert label[:, :, 151:].any()
    assert not label[:, :, :151].any()


def test_the_box_does_not_move_the_anatomy():
    """Two boxes about one patient give one density where they overlap."""
    y, x = np.arange(-20, 20, 1.0, dtype=np.float32), np.arange(80, 120, 1.0, dtype=np.float32)
    small = Anatomy(PATIENT, Pose(), (-30, -30, 70), (10, 30, 130)).sampler(y, x).slab(-10.0, -9.0)
    large = Anatomy(PATIENT, Pose(), (-81, -44, 51), (33, 47, 160)).sampler(y, x).slab(-10.0, -9.0)
    np.testing.assert_allclose(small.mineral, large.mineral, atol=1.0)
    np.testing.assert_allclose(small.soft_hu, large.soft_hu, atol=1.0)


def test_joint_space_separates_femur_and_pelvis_and_contact_joins_them():
    def least_mineral_over_the_head(space):
        patient = replace(PATIENT, joint_space_mm=space)
        tip = patient.hip_half_distance_mm
        sampler = Anatomy(patient, Pose(), (10, -20, 70), (45, 20, 110)).sampler(
            np.arange(-2, 2, 0.5, dtype=np.float32), np.arange(tip - 2, tip + 2, 0.5, dtype=np.float32)
        )
        heights = np.arange(21, 31, 0.5)
        return min(sampler.slab(z, z + 0.5).mineral[4, 4] for z in heights)

    assert least_mineral_over_the_head(4.0) == 0
    assert least_mineral_over_the_head(0.0) > 50


def test_impossible_patients_are_refused():
    with pytest.raises(UserError, match="sex must be 'M' or 'F'"):
        Patient(0, "male", 40)
    with pytest.raises(UserError, match="age_years must be 18 to 100"):
        Patient(0, "M", 4)
    with pytest.raises(UserError, match="joint_space_mm"):
        Patient(0, "M", 40, joint_space_mm=-1)
