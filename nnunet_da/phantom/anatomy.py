"""Shape and density of one hip: what there is to scan, on any physical grid, and the true femur.

World coordinates are the patient's (LPS) in mm: x = 0 at the midline, y = z = 0 at the height of the left femoral head's centre.
The body is mirror symmetric, so fields are held for the left half only. Smooth fields (distances, densities) are computed on lattices of
1.5 to 2.5 mm fixed to the patient and interpolated; thin layers come from distance and thickness at the sampling step, with
their share of each sample worked out, so that a cortex of 0.3 mm keeps its mass.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_da.phantom import femur, pelvis, texture
from nnunet_da.phantom.grid import Grid, Triple, covering, neighbours
from nnunet_da.phantom.patient import Patient, Pose
from nnunet_da.phantom.shapes import Field, unit_gradient
from nnunet_da.phantom.soft_tissue import SoftTissue, soft_tissue

FEMUR_STEP_MM = 1.5
PELVIS_STEP_MM = 2.0
SOFT_STEP_MM = 2.5
AIR_HU = -1000.0
SKIN_HU = 30.0
CORTICAL_MATRIX_HU = 50.0  # what cortical bone would read without its mineral
_ENDOSTEAL = 0.35  # share of the cortex over which it dissolves into trabecular bone


class Material(NamedTuple):
    """What a scanner meets: HU of the tissue without mineral, and mineral in mg/cm3."""

    soft_hu: Field
    mineral: Field

    def hu(self, hu_per_mineral: float) -> Field:
        """HU when 1 mg/cm3 of mineral adds that many HU."""
        return self.soft_hu + np.float32(hu_per_mineral) * self.mineral


@dataclass(frozen=True)
class _Lattice:
    """Fields on one grid, interpolated together; positions are about the left head centre."""

    grid: Grid
    fields: tuple[Field, ...]


class Anatomy:
    """A patient in a pose, ready to be sampled inside a box.

    Args:
        patient: the person.
        pose: how the leg and pelvis lie.
        low_mm, high_mm: corners of the box to be sampled, world z, y, x.
    """

    def __init__(self, patient: Patient, pose: Pose, low_mm: Triple, high_mm: Triple) -> None:
        self.patient, self.pose = patient, pose
        low, high = self._left_half(low_mm, high_mm)
        self._femur = self._femur_lattice(low, high)
        self._pelvis = self._pelvis_lattice(low, high)
        self._soft = self._soft_lattice(low, high)

    def sampler(self, y_mm: NDArray[np.float32], x_mm: NDArray[np.float32], contrast_hu: float = 0.0) -> "PlaneSampler":
        """Sampler of axial planes at these world positions; contrast agent adds `contrast_hu` to muscle and five times that to vessels."""
        return PlaneSampler(self, y_mm, x_mm, contrast_hu)

    def label(self, grid: Grid, shaft_end_mm: float, contour_shift_mm: float = 0.0) -> NDArray[np.uint8]:
        """True left femur: voxel centres inside the periosteal surface moved outwards by `contour_shift_mm`, above z = shaft_end_mm."""
        x = grid.axis(2)
        window = _Window(
            _Lattice(self._femur.grid, self._femur.fields[:1]), grid.axis(1), x - np.float32(self.patient.hip_half_distance_mm)
        )
        out = np.zeros(grid.shape, dtype=np.uint8)
        for plane, z in zip(out, grid.axis(0), strict=True):
            if z >= shaft_end_mm and window.reaches(z, z):
                plane[window.where] = window.planes(z)[0] < contour_shift_mm
        out[:, :, x <= 0] = 0
        return out

    def _left_half(self, low: Triple, high: Triple) -> tuple[Triple, Triple]:
        """The box folded onto the left side, about the head centre, with a margin."""
        half = self.patient.hip_half_distance_mm
        x_low = 0.0 if low[2] < 0 < high[2] else min(abs(low[2]), abs(high[2]))
        x_high = max(abs(low[2]), abs(high[2]))
        return (low[0] - 3, low[1] - 3, x_low - half - 3), (high[0] + 3, high[1] + 3, x_high - half + 3)

    def _femur_lattice(self, low: Triple, high: Triple) -> _Lattice:
        grid = _aligned(*_overlap(low, high, *self._femur_box(low[0])), FEMUR_STEP_MM)
        at = femur.to_femur_frame(grid.coordinates(), self.pose)
        distance = unit_gradient(femur.distance(self.patient, at), grid.spacing_mm)
        density = femur.trabecular_density(self.patient, at)
        return _Lattice(grid, (distance, femur.cortex_thickness(self.patient, at), femur.cortical_density(self.patient, at), density))

    def _femur_box(self, bottom: float) -> tuple[Triple, Triple]:
        """A box (z, y, x) about the head centre that holds the posed femur down to the bottom of the field."""
        marks, s = femur.landmarks(self.patient), self.patient.size
        x, y, z = marks.neck_shaft
        length = -(bottom + z) / max(np.cos(np.deg2rad(self.pose.flexion_deg)), 0.3)
        points = [(0, 0, 0), (x + 12 * s, y + 8 * s, -14 * s), marks.lesser_trochanter, (x, y, z - max(length, 40.0))]
        posed = np.array([femur.to_patient_axes(p, self.pose) for p in points])[:, ::-1]
        margin = self.patient.head_radius_mm + self.patient.osteophyte_mm + 5
        return tuple(posed.min(0) - margin), tuple(posed.max(0) + margin)

    def _pelvis_lattice(self, low: Triple, high: Triple) -> _Lattice:
        s, half = self.patient.size, self.patient.hip_half_distance_mm
        box = (-100 * s, -75 * s, -half - 5), (high[0], 85 * s, 75 * s)
        grid = _aligned(*_overlap(low, high, *box), PELVIS_STEP_MM)
        at = grid.coordinates()
        distance = unit_gradient(pelvis.distance(self.patient, at, self.pose), grid.spacing_mm)
        grain = texture.sample(self.patient.seed * 2 + 4, at, 2.0, 2.5)
        density = self.patient.pelvis_trabecular * np.maximum(1 + self.patient.trabecular_texture * grain, 0.05)
        thickness = np.full(grid.shape, self.patient.pelvis_cortex_mm, dtype=np.float32)
        cortical = np.full(grid.shape, 0.75 * self.patient.cortical_density, dtype=np.float32)
        return _Lattice(grid, (distance, thickness, cortical, density.astype(np.float32)))

    def _soft_lattice(self, low: Triple, high: Triple) -> _Lattice:
        grid = _aligned(low, high, SOFT_STEP_MM)
        return _Lattice(grid, tuple(soft_tissue(self.patient, grid.coordinates(), self.pose.flexion_deg)))


class PlaneSampler:
    """Samples an anatomy on axial planes of a fixed in-plane grid."""

    def __init__(self, anatomy: Anatomy, y_mm: NDArray[np.float32], x_mm: NDArray[np.float32], contrast_hu: float) -> None:
        self._patient = anatomy.patient
        self._contrast_hu = np.float32(contrast_hu)
        self._shape = len(y_mm), len(x_mm)
        self._step_mm = float(x_mm[1] - x_mm[0])
        folded = np.abs(x_mm) - np.float32(anatomy.patient.hip_half_distance_mm)
        self._femur, self._pelvis, self._soft = (
            _Window(lattice, y_mm, folded) for lattice in (anatomy._femur, anatomy._pelvis, anatomy._soft)
        )

    def slab(self, low_mm: float, high_mm: float) -> Material:
        """Mean material between two heights, (Y, X) each."""
        soft = SoftTissue(*self._soft.planes(0.5 * (low_mm + high_mm)))
        out = Material(self._mix_soft(soft), np.zeros(self._shape, dtype=np.float32))
        self._add_bone(out, self._pelvis, low_mm, high_mm)
        self._add_bone(out, self._femur, low_mm, high_mm)
        return out

    def _mix_soft(self, soft: SoftTissue) -> Field:
        lean = _share(soft.lean, self._step_mm)
        lean_hu = soft.lean_hu + self._contrast_hu * (np.float32(1) + np.float32(4) * _share(soft.vessel, self._step_mm))
        tissue = np.float32(self._patient.fat_hu) + lean * (lean_hu - np.float32(self._patient.fat_hu))
        body = _share(-soft.skin, self._step_mm)
        hu: Field = body * tissue + (1 - body) * np.float32(AIR_HU)
        return hu

    def _add_bone(self, out: Material, window: "_Window", low_mm: float, high_mm: float) -> None:
        """Lay a bone over what is there: cortex of its thickness, trabecular bone and marrow inside."""
        if not window.reaches(low_mm, high_mm):
            return
        below, *_ = window.planes(low_mm)
        above, thickness, cortical, trabecular = window.planes(high_mm)
        depth = np.float32(-0.5) * (below + above)
        width = self._sample_width(above - below, high_mm - low_mm)
        bone, core = _share(depth, width), _share(depth - thickness, np.hypot(width, np.float32(_ENDOSTEAL) * thickness))
        shell = bone - core
        soft, mineral = out.soft_hu[window.where], out.mineral[window.where]
        soft += core * np.float32(self._patient.marrow_hu) + shell * np.float32(CORTICAL_MATRIX_HU) - bone * soft
        mineral += core * trabecular + shell * cortical - bone * mineral

    def _sample_width(self, rise: Field, height_mm: float) -> Field:
        """Width of a sample (step x step x height) along the surface's normal, from how much the distance rises over the height."""
        across = np.clip(rise / np.float32(height_mm), -1, 1)
        return np.sqrt(np.float32(self._step_mm**2) + across * across * np.float32(height_mm**2 - self._step_mm**2))


class _Window:
    """The part of a sampling plane that a lattice covers.

    No matrix products: on a busy machine the threads of a BLAS library wait for each other far longer than the work takes.
    """

    def __init__(self, lattice: _Lattice, y_mm: NDArray[np.float32], x_mm: NDArray[np.float32]) -> None:
        self._lattice = lattice
        rows, columns = _inside(y_mm, lattice.grid, 1), _inside(x_mm, lattice.grid, 2)
        self.where = (rows, columns)
        self._y, self._x = neighbours(y_mm[rows], lattice.grid, 1), neighbours(x_mm[columns], lattice.grid, 2)
        self._low, self._high = lattice.grid.origin_mm[0], float(lattice.grid.axis(0)[-1])
        self._last: tuple[float, list[Field]] = (np.nan, [])

    def reaches(self, low_mm: float, high_mm: float) -> bool:
        """Whether the lattice covers these heights and any of the plane."""
        return bool(self._low <= low_mm and high_mm <= self._high and len(self._y[0]) and len(self._x[0]))

    def planes(self, z_mm: float) -> list[Field]:
        """Each field as a (Y, X) plane at height z; the last height asked for is kept, as slabs share their faces."""
        z_mm = round(float(z_mm), 3)
        if z_mm != self._last[0]:
            (k,), (weight,) = neighbours(np.array([z_mm], dtype=np.float32), self._lattice.grid, 0)
            between = (field[k] + weight * (field[k + 1] - field[k]) for field in self._lattice.fields)
            self._last = z_mm, [_rows(_rows(plane.T, *self._x).T, *self._y) for plane in between]
        return self._last[1]


def _rows(plane: Field, low: NDArray[np.intp], weight: NDArray[np.float32]) -> Field:
    """Rows between a plane's rows."""
    plane = np.ascontiguousarray(plane)
    rise = np.diff(plane, axis=0).take(low, axis=0)
    rise *= weight[:, None]
    rise += plane.take(low, axis=0)
    return rise


def _share(depth: Field, width: float | Field) -> Field:
    """Share of a sample of this width that lies inside a flat surface at this depth."""
    out: Field = np.clip(depth / width + np.float32(0.5), 0, 1)
    return out


def _inside(positions_mm: NDArray[np.float32], grid: Grid, which: int) -> slice:
    """The run of positions from the first to the last inside a grid; a mirrored axis may leave it and come back."""
    axis = grid.axis(which)
    (hits,) = np.nonzero((positions_mm >= axis[0]) & (positions_mm <= axis[-1]))
    return slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0)


def _overlap(low: Triple, high: Triple, other_low: Triple, other_high: Triple) -> tuple[Triple, Triple]:
    lower = np.maximum(low, other_low)
    upper = np.maximum(np.minimum(high, other_high), lower + 4.0)
    return tuple(lower), tuple(upper)


def _aligned(low: Triple, high: Triple, step_mm: float) -> Grid:
    """A grid over the box whose points do not depend on where the box begins."""
    start = tuple(float(np.floor(v / step_mm) * step_mm) for v in low)
    return covering(start, high, step_mm)  # type: ignore[arg-type]
