"""The left half of the pelvis round the hip: acetabulum, ilium, pubis, ischium."""

import numpy as np

from nnunet_da.phantom.patient import Patient, Pose
from nnunet_da.phantom.shapes import Coordinates, Field, rotated, rotation, round_cone, smooth_intersection, smooth_union, sphere


def distance(patient: Patient, at_hip: Coordinates, pose: Pose) -> Field:
    """Distance to the pelvic bone's surface; coordinates about the head centre in patient axes, mm."""
    at = rotated(at_hip, rotation(0, pose.pelvic_tilt_deg).T)
    s = patient.size
    bone = smooth_union(_socket(patient, at), _ilium(at, s), 8 * s)
    bone = smooth_union(bone, _pubis(patient, at, s), 7 * s)
    bone = smooth_union(bone, _ischium(patient, at, s), 7 * s)
    cavity = sphere(at, (0, 0, 0), patient.head_radius_mm + patient.joint_space_mm)
    return smooth_intersection(bone, -cavity, 1.0)


def _socket(patient: Patient, at: Coordinates) -> Field:
    """A cup about the head, open to the side, the front and below."""
    x, y, z = at
    outer = sphere(at, (-4 * patient.size, 1, 3 * patient.size), patient.head_radius_mm + patient.joint_space_mm + 6 * patient.size)
    opening = np.float32(0.68) * x - np.float32(0.26) * y - np.float32(0.69) * z - np.float32(3 * patient.size)
    return smooth_intersection(outer, opening, 5.0)


def _ilium(at: Coordinates, s: float) -> Field:
    body = round_cone(at, (-6 * s, 4 * s, 34 * s), (4 * s, 10 * s, 66 * s), (11 * s, 8 * s), (1.0, 2.0, 1.0))
    wing = round_cone(at, (4 * s, 10 * s, 66 * s), (30 * s, 22 * s, 130 * s), (8 * s, 6 * s), (1.0, 5.0, 1.0))
    column = round_cone(at, (-18 * s, 20 * s, 5 * s), (-14 * s, 34 * s, 45 * s), (11 * s, 10 * s))
    return smooth_union(smooth_union(body, wing, 10 * s), column, 10 * s)


def _pubis(patient: Patient, at: Coordinates, s: float) -> Field:
    symphysis = -(patient.hip_half_distance_mm - 9)
    ramus = round_cone(at, (-26 * s, -14 * s, -6 * s), (symphysis + 8 * s, -42 * s, -20 * s), (10 * s, 8 * s), (1.0, 0.85, 1.2))
    body = round_cone(at, (symphysis + 6, -42 * s, -18 * s), (symphysis + 6, -34 * s, -48 * s), (9 * s, 8 * s), (1.25, 0.9, 1.2))
    return smooth_union(ramus, body, 6 * s)


def _ischium(patient: Patient, at: Coordinates, s: float) -> Field:
    symphysis = -(patient.hip_half_distance_mm - 9)
    body = round_cone(at, (-16 * s, 20 * s, -10 * s), (-22 * s, 36 * s, -64 * s), (13 * s, 15 * s), (0.9, 1.15, 1.0))
    ramus = round_cone(at, (-28 * s, 28 * s, -74 * s), (symphysis + 6, -28 * s, -48 * s), (10 * s, 6 * s), (0.8, 1.0, 1.25))
    return smooth_union(body, ramus, 10 * s)
