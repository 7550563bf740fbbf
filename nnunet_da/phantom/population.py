"""Who comes to a centre: sex and age, and the body that goes with them."""

from dataclasses import dataclass

import numpy as np

from nnunet_da.phantom.patient import Patient, Pose


@dataclass(frozen=True)
class Population:
    """Shares and ranges a patient is drawn from."""

    share_women: float
    youngest: float
    oldest: float


TULANE = Population(0.0, 20, 50)
ROCHESTER = Population(216 / 397, 27, 90)
BOTH = Population(0.35, 20, 90)  # what both centres see when the population switch is off


def draw_patient(
    population: Population, seed: int, *, cortex_by_age: bool = True, joint_by_age: bool = True, disease: float = 1.0
) -> Patient:
    """One patient.

    Args:
        population: sexes and ages.
        seed: the same seed and population give the same patient.
        cortex_by_age: False keeps every cortex at the thickness of a young adult.
        joint_by_age: False gives every joint the space of a young adult and no osteophytes.
        disease: multiplies how often contact and osteophytes occur.
    """
    rng = np.random.default_rng([seed, 11])
    woman = bool(rng.uniform() < population.share_women)
    age = float(np.round(rng.uniform(population.youngest, population.oldest), 1))
    return Patient(
        seed=seed,
        sex="F" if woman else "M",
        age_years=age,
        **_skeleton(woman, np.random.default_rng([seed, 12])),
        **_cortex(woman, age if cortex_by_age else min(age, 25.0), np.random.default_rng([seed, 13])),
        **_density(woman, age, np.random.default_rng([seed, 14])),
        **_joint(age if joint_by_age else 25.0, disease, np.random.default_rng([seed, 15])),
        **_soft(woman, age, np.random.default_rng([seed, 16])),
    )


def draw_pose(seed: int, spread: float = 1.0) -> Pose:
    """How the patient lies this time; `spread` multiplies the variation."""
    rng = np.random.default_rng([seed, 21])
    flexion, adduction, turn, tilt = rng.normal(0, 1, 4).clip(-2, 2) * spread
    return Pose(2.0 + 2.5 * abs(flexion), 7.0 + 2.0 * adduction, 5.0 * turn, 3.0 * tilt)


def _clipped(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(mean, sd), low, high))


def _between(age: float, young: tuple[float, float], old: tuple[float, float], quantile: float) -> float:
    """The same quantile of a range that moves from that of 25 years to that of 80."""
    share = float(np.clip((age - 25) / 55, 0, 1.1))
    low, high = ((1 - share) * y + share * o for y, o in zip(young, old, strict=True))
    return low + quantile * (high - low)


def _skeleton(woman: bool, rng: np.random.Generator) -> dict[str, float]:
    size = _clipped(rng, 0.895 if woman else 1.0, 0.045, 0.78, 1.14)
    return {
        "head_radius_mm": 24.0 * size,
        "neck_radius_mm": 16.5 * size * _clipped(rng, 1, 0.05, 0.88, 1.12),
        "neck_length_mm": 52.0 * size * _clipped(rng, 1, 0.06, 0.86, 1.14),
        "neck_shaft_angle_deg": _clipped(rng, 127, 5, 115, 140),
        "anteversion_deg": _clipped(rng, 14 if woman else 11, 6, 0, 25),
        "shaft_radius_mm": 15.0 * size * _clipped(rng, 1, 0.05, 0.88, 1.12),
        "hip_half_distance_mm": (90.0 if woman else 88.0) * _clipped(rng, 1, 0.04, 0.9, 1.1),
    }


def _cortex(woman: bool, age: float, rng: np.random.Generator) -> dict[str, float]:
    common = rng.uniform()
    quantiles = np.clip(0.6 * common + 0.4 * rng.uniform(size=5), 0, 1) * (0.9 if woman else 1.0)
    superior = _between(age, (1.0, 1.6), (0.5, 1.0), quantiles[0])
    in_tail, tail = rng.uniform() < 0.15, rng.uniform(0.3, 0.5)
    return {
        "cortex_superior_neck_mm": float(tail) if age >= 80 and in_tail else superior,
        "cortex_inferior_neck_mm": _between(age, (3.0, 4.5), (2.5, 4.0), quantiles[1]),
        "cortex_head_mm": _between(age, (0.6, 1.0), (0.4, 0.8), quantiles[2]),
        "cortex_trochanter_mm": _between(age, (1.0, 1.6), (0.6, 1.2), quantiles[3]),
        "cortex_shaft_mm": _between(age, (4.0, 7.0), (2.5, 5.0), quantiles[4]),
        "pelvis_cortex_mm": _between(age, (1.0, 1.6), (0.7, 1.3), quantiles[3]),
    }


def _density(woman: bool, age: float, rng: np.random.Generator) -> dict[str, float]:
    common = rng.uniform()
    q = np.clip(0.7 * common + 0.3 * rng.uniform(size=4), 0, 1) * (0.85 if woman and age > 50 else 1.0)
    neck = _between(age, (150, 220), (40, 90), q[1])
    return {
        "cortical_density": _clipped(rng, 1025 - 0.6 * max(age - 40, 0), 25, 900, 1110),
        "trabecular_head": _between(age, (250, 330), (150, 220), q[0]),
        "trabecular_neck": neck,
        "trabecular_trochanter": 0.7 * neck,
        "ward_density": _between(age, (60, 120), (0, 20), q[2]),
        "pelvis_trabecular": _between(age, (160, 230), (60, 120), q[3]),
        "trabecular_texture": float(rng.uniform(0.2, 0.32)),
    }


def _joint(age: float, disease: float, rng: np.random.Generator) -> dict[str, float]:
    """Joint space 3 to 5 mm, narrowing after 50; contact in 15 % after 60, osteophytes with most contacts and in some others."""
    space = float(rng.uniform(3.0, 5.0)) - 0.02 * max(age - 50, 0)
    contact_draw, spur_draw, spur_size = rng.uniform(size=3)
    contact = age > 60 and contact_draw < min(0.15 * disease, 0.6)
    chance = 0.8 if contact else min((0.25 if age > 60 else 0.03) * disease, 0.8)
    spur = 2 + 4 * float(spur_size) if spur_draw < chance else 0.0
    return {"joint_space_mm": float(rng.uniform(0, 0.3)) if contact else max(space, 1.0), "osteophyte_mm": spur}


def _soft(woman: bool, age: float, rng: np.random.Generator) -> dict[str, float]:
    return {
        "fat_thickness_mm": float(np.clip(rng.lognormal(np.log(26 if woman else 17), 0.4), 6, 60)),
        "muscle_scale": _clipped(rng, (0.92 if woman else 1.0) - 0.0015 * max(age - 40, 0), 0.05, 0.75, 1.15),
        "muscle_hu": _clipped(rng, 60 - 0.12 * max(age - 40, 0), 3, 42, 68),
        "muscle_fat_fraction": _clipped(rng, 0.03 + 0.0012 * max(age - 30, 0), 0.02, 0.01, 0.2),
        "fat_hu": _clipped(rng, -97, 3, -107, -88),
        "marrow_hu": _clipped(rng, -62 - 0.3 * max(age - 30, 0), 8, -95, -40),
    }
