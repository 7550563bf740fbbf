"""One person: every physical number of the anatomy, and how the body lies on the table."""

from dataclasses import dataclass

from nnunet_da.errors import UserError


@dataclass(frozen=True)
class Patient:
    """All lengths in mm, densities in mg/cm3 of mineral, angles in degrees, HU at any voltage for mineral-free tissue."""

    seed: int
    sex: str
    age_years: float
    head_radius_mm: float = 24.0
    neck_radius_mm: float = 16.5
    neck_length_mm: float = 52.0  # head centre to shaft axis
    neck_shaft_angle_deg: float = 127.0
    anteversion_deg: float = 12.0
    shaft_radius_mm: float = 15.0
    hip_half_distance_mm: float = 88.0  # head centre to the midline
    cortex_head_mm: float = 0.8
    cortex_superior_neck_mm: float = 1.2
    cortex_inferior_neck_mm: float = 3.5
    cortex_trochanter_mm: float = 1.2
    cortex_shaft_mm: float = 5.5
    cortical_density: float = 1015.0
    trabecular_head: float = 290.0
    trabecular_neck: float = 180.0
    trabecular_trochanter: float = 120.0
    ward_density: float = 60.0
    trabecular_texture: float = 0.25  # SD over mean
    pelvis_trabecular: float = 180.0
    pelvis_cortex_mm: float = 1.3
    joint_space_mm: float = 4.0
    osteophyte_mm: float = 0.0
    fat_thickness_mm: float = 18.0
    muscle_scale: float = 1.0
    muscle_hu: float = 58.0
    muscle_fat_fraction: float = 0.05
    fat_hu: float = -97.0
    marrow_hu: float = -65.0

    def __post_init__(self) -> None:
        if self.sex not in ("M", "F"):
            raise UserError(f"sex must be 'M' or 'F', got {self.sex!r}")
        if not 18 <= self.age_years <= 100:
            raise UserError(f"age_years must be 18 to 100, got {self.age_years}: the anatomy is that of adults")
        for name in ("head_radius_mm", "neck_radius_mm", "neck_length_mm", "shaft_radius_mm"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be positive, got {getattr(self, name)}")
        if self.joint_space_mm < 0:
            raise UserError(f"joint_space_mm must be 0 or more, got {self.joint_space_mm}")

    @property
    def size(self) -> float:
        """Skeleton size relative to a man with a femoral head of 24 mm radius."""
        return self.head_radius_mm / 24.0


@dataclass(frozen=True)
class Pose:
    """How the left leg and the pelvis lie; the femur turns about the centre of its head."""

    flexion_deg: float = 3.0
    adduction_deg: float = 8.0  # the shaft runs medially as it goes down
    rotation_deg: float = 0.0  # inward positive
    pelvic_tilt_deg: float = 0.0
