"""Skin, fat, muscle groups with fat between them, vessels and bladder, as fields the anatomy mixes."""

from typing import NamedTuple

import numpy as np

from nnunet_da.phantom import texture
from nnunet_da.phantom.patient import Patient
from nnunet_da.phantom.shapes import Coordinates, Field, ellipsoid, round_cone, smooth_intersection, smooth_step, smooth_union, sphere

# name: start, end (mm about the head centre of a man: x lateral, y back, z up), radii at both ends, stretch of the cross-section
MUSCLES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float], tuple[float, float, float]]] = {
    "iliopsoas": ((-14, -34, 70), (-2, -36, -10), (20, 17), (1.2, 1, 1)),
    "iliopsoas insertion": ((-2, -36, -10), (22, 2, -62), (16, 9), (1, 1, 1)),
    "sartorius": ((34, -62, 50), (0, -66, -90), (8, 9), (1.5, 1, 1)),
    "rectus femoris": ((22, -44, 20), (30, -58, -120), (8, 16), (1.2, 1, 1)),
    "tensor fasciae latae": ((52, -46, 40), (62, -42, -80), (11, 9), (1, 1.6, 1)),
    "gluteus minimus": ((30, -8, 60), (52, -16, -2), (14, 9), (1, 1.6, 1)),
    "gluteus medius": ((52, -2, 80), (66, 4, -8), (18, 10), (1, 2.0, 1)),
    "gluteus maximus": ((-38, 78, 50), (48, 50, -60), (27, 22), (1.5, 1, 1)),
    "obturator internus": ((-48, -4, 10), (-44, 28, -22), (8, 9), (1, 1.8, 1.5)),
    "gemelli": ((-30, 44, -4), (34, 26, -8), (9, 7), (1, 1, 1)),
    "quadratus femoris": ((-10, 36, -48), (34, 30, -50), (9, 8), (1, 1, 2.0)),
    "obturator externus": ((-46, -14, -38), (18, 16, -34), (11, 7), (1, 1, 1)),
    "pectineus": ((-50, -48, -16), (14, -10, -66), (13, 9), (1.2, 1, 1)),
    "adductor longus": ((-66, -44, -44), (-6, -34, -140), (9, 15), (1.5, 1, 1)),
    "adductor brevis": ((-60, -26, -50), (6, -8, -130), (11, 11), (1.4, 1, 1)),
    "adductor magnus": ((-40, 12, -70), (-2, 18, -150), (15, 22), (1.5, 1, 1)),
    "gracilis": ((-72, -12, -50), (-58, 0, -150), (7, 8), (1, 1.8, 1)),
    "hamstrings": ((-22, 44, -78), (6, 52, -150), (11, 20), (1.4, 1, 1)),
    "vastus lateralis": ((62, -6, -44), (58, -10, -140), (9, 20), (1, 1.6, 1)),
    "vastus intermedius": ((40, -20, -56), (34, -30, -140), (12, 19), (1.3, 1, 1)),
}
VESSELS = {"artery": ((-16, -62, 20), (-14, -48, -110), 4.2), "vein": ((-26, -58, 20), (-18, -40, -110), 5.2)}
_PLANE_MM = 0.5  # half the fat between two muscles
_FILL_MM = 9.0  # how far a muscle spreads into the room beside it
_SKIN_MM = 1.8


class SoftTissue(NamedTuple):
    """(Z, Y, X) fields: distance to the skin, signed depth of lean tissue (positive inside), its HU, and vessels (positive inside)."""

    skin: Field
    lean: Field
    lean_hu: Field
    vessel: Field


def soft_tissue(patient: Patient, at_hip: Coordinates, flexion_deg: float = 0.0) -> SoftTissue:
    """All soft-tissue fields; coordinates about the head centre in patient axes, mm. The thigh follows the femur's flexion."""
    at_thigh = _bent(at_hip, flexion_deg)
    skin = _skin(patient, at_hip, at_thigh)
    muscle = _muscle(patient, at_thigh, skin)
    bladder = -ellipsoid(at_hip, (-patient.hip_half_distance_mm, -12, 22), (38, 30, 28))
    organs = -ellipsoid(at_hip, (-patient.hip_half_distance_mm, 42, 10), (26, 20, 60))
    vessel = _vessels(patient, at_thigh)
    rind = np.minimum(_SKIN_MM + skin, -skin)  # positive within the skin
    capsule = -sphere(at_hip, (0, 0, 0), patient.head_radius_mm + patient.joint_space_mm + 3)
    lean = np.maximum.reduce([muscle, bladder, organs, vessel, rind, capsule])
    hu = np.where(bladder > 0, 8.0, np.where(organs > 0, 38.0, patient.muscle_hu + _grain(patient, at_hip)))
    hu = np.where(capsule > 0, 65.0, hu)
    return SoftTissue(skin, lean.astype(np.float32), hu.astype(np.float32), vessel)


def _bent(at: Coordinates, flexion_deg: float) -> Coordinates:
    """Coordinates in which a thigh lifted to the front is straight: a shear that sets in smoothly below the hip."""
    x, y, z = at
    below = 15 * np.logaddexp(0, -z / 15)
    return x, (y + np.float32(np.tan(np.deg2rad(flexion_deg))) * below).astype(np.float32), z


def _skin(patient: Patient, at: Coordinates, at_thigh: Coordinates) -> Field:
    """Trunk and thigh, joined; the fat makes both thicker."""
    x, y, z = at
    half, fat, s = patient.hip_half_distance_mm, patient.fat_thickness_mm, patient.size
    thigh = round_cone(at_thigh, (0, 6, 0), (4 * s, 2, -260 * s), (72 * s + 0.8 * fat, 60 * s + 0.7 * fat), (1.0, 1.05, 1.0))
    width, depth = half + 68 * s + fat, 88 * s + fat
    level = np.sqrt(((x + half) / width) ** 2 + ((y - 6) / depth) ** 2)
    trunk = (level - 1) * np.float32(depth) + 0 * z
    trunk = smooth_intersection(trunk, (-z - np.float32(58 * s)) + 0 * trunk, 30.0)
    return smooth_union(trunk, thigh, 25.0).astype(np.float32)


def _muscle(patient: Patient, at: Coordinates, skin: Field) -> Field:
    """Signed depth in muscle: cells of the nearest muscle, kept apart by fat, under the fascia."""
    nearest = np.full(skin.shape, 1e3, dtype=np.float32)
    second = nearest.copy()
    s, thick = patient.size, patient.size * patient.muscle_scale
    for start, end, radii, stretch in MUSCLES.values():
        d = round_cone(at, _scaled(start, s), _scaled(end, s), (radii[0] * thick, radii[1] * thick), stretch)
        second = np.minimum(second, np.maximum(d, nearest))
        nearest = np.minimum(nearest, d)
    apart = (second - nearest) * np.float32(0.5) - np.float32(_PLANE_MM * (1 + 8 * patient.muscle_fat_fraction))
    fascia = -(skin + np.float32(patient.fat_thickness_mm))
    return np.minimum.reduce([apart, np.float32(_FILL_MM) - nearest, fascia])


def _vessels(patient: Patient, at: Coordinates) -> Field:
    s = patient.size
    tubes = [-round_cone(at, _scaled(start, s), _scaled(end, s), (radius, radius)) for start, end, radius in VESSELS.values()]
    return np.maximum(tubes[0], tubes[1])


def _grain(patient: Patient, at: Coordinates) -> Field:
    """Marbling: HU lowered where fat runs through muscle."""
    field = texture.sample(patient.seed * 2 + 3, at, 3.0, 3.0)
    streaks = smooth_step(field, 0.5, 2.5)
    return (patient.fat_hu - patient.muscle_hu) * np.float32(4 * patient.muscle_fat_fraction) * streaks + 3 * field


def _scaled(point: tuple[float, float, float], s: float) -> tuple[float, float, float]:
    return point[0] * s, point[1] * s, point[2] * s
