"""The left proximal femur: periosteal surface, thickness of the cortex, density inside."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_da.phantom import texture
from nnunet_da.phantom.patient import Patient, Pose
from nnunet_da.phantom.shapes import Coordinates, Field, Point, rotated, rotation, round_cone, smooth_step, smooth_union, sphere

_NECK_FLATNESS = 0.85  # front-to-back over top-to-bottom width of the neck


@dataclass(frozen=True)
class Landmarks:
    """Points in the femur's own frame: origin in the head, z along the shaft, x lateral, y to the back; mm."""

    neck_direction: Point  # from head to shaft
    neck_up: Point  # across the neck, towards its upper side
    neck_across: Point
    neck_shaft: Point  # where neck and shaft axes meet
    lesser_trochanter: Point


def landmarks(patient: Patient) -> Landmarks:
    """The femur's frame from neck-shaft angle, anteversion and neck length."""
    angle, version = np.deg2rad(patient.neck_shaft_angle_deg), np.deg2rad(patient.anteversion_deg)
    direction = np.array([np.sin(angle) * np.cos(version), np.sin(angle) * np.sin(version), np.cos(angle)])
    across = np.cross([0, 0, 1], direction)
    across /= np.linalg.norm(across)
    up = np.cross(direction, across)
    x, y, z = neck_shaft = patient.neck_length_mm * direction
    s = patient.size
    lesser = (x - 15 * s, y + 13 * s, z - 34 * s)
    return Landmarks(tuple(direction), tuple(up), tuple(across), tuple(neck_shaft), lesser)


def to_femur_frame(at_hip: Coordinates, pose: Pose) -> Coordinates:
    """Coordinates about the head centre (patient axes) turned into the femur's own frame."""
    return rotated(at_hip, _turn(pose).T)


def to_patient_axes(point: Point, pose: Pose) -> Point:
    """A point of the femur's frame in patient axes about the head centre."""
    x, y, z = _turn(pose) @ np.asarray(point)
    return float(x), float(y), float(z)


def _turn(pose: Pose) -> NDArray[np.float64]:
    """From the femur's frame to patient axes: inward rotation, adduction, then flexion lifts the shaft to the front."""
    return rotation(0, -pose.flexion_deg) @ rotation(1, pose.adduction_deg) @ rotation(2, pose.rotation_deg)


def neck_frame(patient: Patient, at: Coordinates) -> Coordinates:
    """(along, up, across) the neck, in mm, from the head centre."""
    marks = landmarks(patient)
    return rotated(at, np.array([marks.neck_direction, marks.neck_up, marks.neck_across]))


def distance(patient: Patient, at: Coordinates) -> Field:
    """Distance to the periosteal surface in the femur's frame."""
    shaft = smooth_union(_shaft(patient, at), _greater_trochanter(patient, at), 10 * patient.size)
    shaft = smooth_union(shaft, _lesser_trochanter(patient, at), 8 * patient.size)
    neck = smooth_union(_neck(patient, at), shaft, 7 * patient.size)
    bone = smooth_union(sphere(at, (0, 0, 0), patient.head_radius_mm), neck, 5 * patient.size)
    return _with_osteophytes(patient, at, bone)


def _neck(patient: Patient, at: Coordinates) -> Field:
    along, up, across = neck_frame(patient, at)
    length, waist = patient.neck_length_mm, 0.56 * patient.neck_length_mm
    inside = np.clip(along, 0.25 * patient.head_radius_mm, length)
    flare = np.where(inside > waist, 0.38 * ((inside - waist) / (length - waist)) ** 2, 0.12 * ((waist - inside) / waist) ** 2)
    radial = np.sqrt(up**2 + (across / _NECK_FLATNESS) ** 2 + (along - inside) ** 2)
    return (radial - patient.neck_radius_mm * (1 + flare)).astype(np.float32)


def _shaft(patient: Patient, at: Coordinates) -> Field:
    x, y, z = at
    x0, y0, z0 = landmarks(patient).neck_shaft
    inside = np.minimum(z, z0 + 2)
    depth = z0 - inside
    bow = np.float32(1.2e-4) * depth**2  # the femur bends forward
    flare = 0.32 * smooth_step(np.asarray(-depth), -55 * patient.size, -5)
    radius = patient.shaft_radius_mm * (1 + flare)
    radial = np.sqrt((x - x0) ** 2 + (y - y0 + bow - 2 * depth / (depth + 30)) ** 2 + (z - inside) ** 2)
    return (radial - radius).astype(np.float32)


def _greater_trochanter(patient: Patient, at: Coordinates) -> Field:
    x, y, z = landmarks(patient).neck_shaft
    s = patient.size
    tip, base = (x + 10 * s, y + 10 * s, z + 19 * s), (x + 9 * s, y + 1 * s, z - 16 * s)
    body = round_cone(at, tip, base, (7.5 * s, 16 * s), (1.0, 1.3, 1.0))
    front = round_cone(at, (x + 13 * s, y - 7 * s, z + 6 * s), base, (8 * s, 12 * s))
    crest = round_cone(at, (x + 6 * s, y + 16 * s, z + 14 * s), (x - 6 * s, y + 14 * s, z - 24 * s), (6 * s, 5.5 * s))
    return smooth_union(smooth_union(body, front, 8 * s), crest, 7 * s)


def _lesser_trochanter(patient: Patient, at: Coordinates) -> Field:
    x, y, z = landmarks(patient).lesser_trochanter
    s = patient.size
    return round_cone(at, (x + 10 * s, y - 8 * s, z + 5 * s), (x, y, z), (11 * s, 6.5 * s), (1.0, 1.0, 1.35))


def _with_osteophytes(patient: Patient, at: Coordinates, bone: Field) -> Field:
    """Spurs round the rim of the head, each a bump of `osteophyte_mm`."""
    if patient.osteophyte_mm <= 0:
        return bone
    rng = np.random.default_rng([patient.seed, 71])
    frame = neck_frame(patient, at)
    for turn in rng.uniform(0, 2 * np.pi, 6):
        rim = 0.62 * patient.head_radius_mm
        reach = np.sqrt(patient.head_radius_mm**2 - rim**2) + 0.45 * patient.osteophyte_mm * rng.uniform(0.6, 1.2)
        centre = (rim, reach * np.cos(turn), reach * np.sin(turn))
        spur = sphere(frame, centre, 0.75 * patient.osteophyte_mm)
        bone = smooth_union(bone, spur, 3.0)
    return bone


def cortex_thickness(patient: Patient, at: Coordinates) -> Field:
    """Thickness of the cortex at the nearest surface, mm: head, upper and lower neck, trochanters, shaft."""
    along, up, across = neck_frame(patient, at)
    depth = landmarks(patient).neck_shaft[2] - at[2]
    upper = 0.5 + 0.5 * up / np.sqrt(up**2 + across**2 + 9)
    superior, inferior = patient.cortex_superior_neck_mm, patient.cortex_inferior_neck_mm
    neck = inferior + (superior - inferior) * smooth_step(upper, 0.05, 0.7)
    in_neck = smooth_step(along, 0.55 * patient.head_radius_mm, 1.0 * patient.head_radius_mm)
    proximal = patient.cortex_head_mm + (neck - patient.cortex_head_mm) * in_neck
    lateral = smooth_step(along, 0.8 * patient.neck_length_mm, 1.15 * patient.neck_length_mm)
    proximal = proximal + (patient.cortex_trochanter_mm - proximal) * lateral
    in_shaft = smooth_step(depth, 2 * patient.size, 62 * patient.size)
    return (proximal + (patient.cortex_shaft_mm - proximal) * in_shaft).astype(np.float32)


def cortical_density(patient: Patient, at: Coordinates) -> Field:
    """Mineral of the cortex, mg/cm3, lowered here and there by pores; the thin plates of head and trochanters are less dense."""
    along, _, _ = neck_frame(patient, at)
    depth = landmarks(patient).neck_shaft[2] - at[2]
    in_head = 1 - smooth_step(along, 0.3 * patient.head_radius_mm, 1.2 * patient.head_radius_mm)
    in_trochanter = smooth_step(along, 0.9 * patient.neck_length_mm, 1.3 * patient.neck_length_mm) * (1 - smooth_step(depth, 0, 40))
    pores = np.float32(0.04) * texture.sample(patient.seed * 2 + 5, at, 2.5, 3.0)
    return (patient.cortical_density * (1 - 0.35 * in_head - 0.2 * in_trochanter + pores)).astype(np.float32)


def trabecular_density(patient: Patient, at: Coordinates) -> Field:
    """Mineral inside the cortex, mg/cm3: dense head and compressive strut, thin Ward's triangle, empty canal, correlated texture."""
    along, up, across = neck_frame(patient, at)
    s, length = patient.size, patient.neck_length_mm
    depth = landmarks(patient).neck_shaft[2] - at[2]
    in_neck = smooth_step(along, 0.35 * patient.head_radius_mm, 1.2 * patient.head_radius_mm)
    in_trochanter = smooth_step(along, 0.85 * length, 1.2 * length)
    base = patient.trabecular_head + (patient.trabecular_neck - patient.trabecular_head) * in_neck
    base = base + (patient.trabecular_trochanter - base) * in_trochanter
    to_strut = _strut_distance(patient, at)
    base = base * (1 + (0.65 * np.exp(-0.5 * (to_strut / (9 * s)) ** 2) - 0.28) * (1 - in_neck))
    strut = np.exp(-0.5 * (to_strut / (6 * s)) ** 2)
    arch = np.exp(-0.5 * ((up - 0.55 * patient.neck_radius_mm + 0.006 * (along - 0.5 * length) ** 2) / (4 * s)) ** 2) * in_neck
    base = base * (1 + 0.45 * strut * in_neck + 0.35 * arch) + 0.35 * patient.trabecular_neck * strut * in_neck
    ward = np.exp(-0.5 * (((along - 0.74 * length) / (9 * s)) ** 2 + ((up + 3 * s) / (6.5 * s)) ** 2 + (across / (10 * s)) ** 2))
    base = base + (patient.ward_density - base) * np.minimum(1.15 * ward, 1)
    canal = smooth_step(depth, 8 * s, 45 * s)
    base = base * (1 - 0.66 * canal)
    return (base * np.maximum(1 + patient.trabecular_texture * _texture(patient, at), 0.05)).astype(np.float32)


def _strut_distance(patient: Patient, at: Coordinates) -> Field:
    """Distance to the line of the principal compressive trabeculae: top of the head to the medial cortex under the neck."""
    x, y, z = landmarks(patient).neck_shaft
    r, s = patient.head_radius_mm, patient.size
    return round_cone(at, (-0.15 * r, 0, 0.9 * r), (x - 17 * s, y, z - 4 * s), (0, 0))


def _texture(patient: Patient, at: Coordinates) -> Field:
    coarse = texture.sample(patient.seed * 2 + 1, at, 2.5, 5.0)
    fine = texture.sample(patient.seed * 2 + 2, at, 1.5, 1.5)
    return np.float32(0.6) * coarse + np.float32(0.8) * fine
