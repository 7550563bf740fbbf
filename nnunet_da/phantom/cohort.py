"""The two centres: who comes, on what scanner, and how far the centres differ, factor by factor."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nnunet_da.errors import UserError
from nnunet_da.phantom import femur, population
from nnunet_da.phantom.grid import Grid, Triple
from nnunet_da.phantom.patient import Patient, Pose
from nnunet_da.phantom.population import draw_patient, draw_pose
from nnunet_da.phantom.scanner import Scanner, scan

CENTRES = ("tulane", "rochester")
SWITCHES = (
    "kernel", "noise", "slice", "voltage", "calibration", "cupping", "contrast", "joint", "cortex", "population", "positioning",
    "label_protocol",
)  # fmt: skip
# which factors differ between the centres by default; 1 is the two centres of the paper, both at 120 kVp without contrast agent
SEVERITIES = {
    0: {"population", "joint", "cortex"},
    1: {"population", "joint", "cortex", "kernel", "noise", "slice", "calibration", "cupping"},
    2: set(SWITCHES),
}


@dataclass(frozen=True)
class Centre:
    """One centre; build it with `centre(...)`.

    Attributes:
        name: whose scanners, habits and readers.
        severity: as in `centre`.
        differs: the factors that are switched on.
        people: the centre whose patients come, mostly its own.
    """

    name: str
    severity: int
    differs: frozenset[str]
    people: str


@dataclass(frozen=True)
class LabelProtocol:
    """How a centre's readers draw: where the shaft ends, and how far outside the true surface the contour runs."""

    shaft_below_trochanter_mm: float = 22.0
    contour_shift_pixels: float = 0.0


@dataclass(frozen=True)
class Window:
    """What is kept of the scan. None means the default.

    Args:
        pixels: in-plane size in pixels, both ways.
        size_mm: (z, y, x) size instead.
        pixel_mm: fixes the pixel size instead of drawing it.
        slice_scale: multiplies slice thickness and distance, for small cases.
        full_field: both hips and the table, 512 x 512 unless `pixels` says otherwise.
    """

    pixels: int | None = None
    size_mm: Triple | None = None
    pixel_mm: float | None = None
    slice_scale: float = 1.0
    full_field: bool = False

    def __post_init__(self) -> None:
        if self.pixels is not None and not 16 <= self.pixels <= 1024:
            raise UserError(f"the window must be 16 to 1024 pixels wide, got {self.pixels}")
        if self.size_mm is not None and not all(20 <= v <= 700 for v in self.size_mm):
            raise UserError(f"window_mm must be three sizes (z, y, x) of 20 to 700 mm, got {self.size_mm}")
        if self.pixel_mm is not None and not 0.3 <= self.pixel_mm <= 6:
            raise UserError(f"pixel_mm must be 0.3 to 6 mm, got {self.pixel_mm}")
        if not 0.2 <= self.slice_scale <= 5:
            raise UserError(f"slice_scale must be 0.2 to 5, got {self.slice_scale}")


@dataclass(frozen=True)
class PhantomCase:
    """A scan with its truth. Arrays and spacing in order Z, Y, X; origin and direction in SimpleITK's order (x, y, z; LPS)."""

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    spacing_mm: Triple
    origin_mm: Triple
    direction: tuple[float, ...]
    sex: str
    age_years: float
    densities: dict[str, float]
    patient: Patient = field(repr=False)
    pose: Pose = field(repr=False)
    scanner: Scanner = field(repr=False)


def switched(on: Collection[str], off: Collection[str]) -> dict[str, bool]:
    """Switches for `centre` by the factors that are on and those that are off. Raises UserError where one is both."""
    both = sorted(set(on) & set(off))
    if both:
        raise UserError(f"a factor is on or off, got both for {', '.join(both)}")
    return {**dict.fromkeys(on, True), **dict.fromkeys(off, False)}


def centre(name: str, severity: int = 1, *, people: str | None = None, **switches: bool) -> Centre:
    """A centre of the phantom.

    Args:
        name: "tulane" or "rochester".
        severity: 0 identical scanners, 1 like the paper's centres, 2 hard.
        people: the centre whose patients are scanned here, its own by default: only machines and readers differ then.
        switches: factor=True or False, over what the severity says; `SWITCHES` lists the factors. With severity 0 and
            population=False the two centres follow one law.

    Raises:
        UserError: unknown centre, severity or switch.
    """
    people = name if people is None else people
    for what, given in (("centre", name), ("people", people)):
        if given not in CENTRES:
            raise UserError(f"{what} must be one of {', '.join(CENTRES)}, got {given!r}")
    if severity not in SEVERITIES:
        raise UserError(f"severity must be one of {', '.join(map(str, SEVERITIES))}, got {severity!r}")
    unknown = sorted(set(switches) - set(SWITCHES))
    if unknown:
        raise UserError(f"switches are {', '.join(SWITCHES)}; got {', '.join(unknown)}")
    wrong = {key: value for key, value in switches.items() if not isinstance(value, bool)}
    if wrong:
        raise UserError(f"a switch is True or False, got {wrong}")
    off = {key for key, value in switches.items() if not value}
    return Centre(name, severity, frozenset((SEVERITIES[severity] | set(switches)) - off), people)


def draw_scanner(centre: Centre, seed: int, window: Window | None = None) -> Scanner:
    """The scanner as it stood for one case: the centre's settings and what varies from case to case."""
    window = window or Window()
    rng = np.random.default_rng([seed, 31])
    at_rochester = centre.name == "rochester"
    hard = centre.severity == 2

    def differ(factor: str) -> bool:
        return factor in centre.differs and at_rochester

    pixel, level, streak, cup = rng.uniform(0.695, 0.986), *rng.uniform(size=3)
    kernel = ("bone" if hard else "b30s") if differ("kernel") else "standard"
    low, high = ((50, 90) if kernel == "bone" else (16, 25)) if differ("noise") else (12, 20)
    slice_mm, output = (2.0, 3.0) if differ("slice") else (2.5, None)
    return Scanner(
        kernel=kernel,
        blur_mm=0.15 if kernel == "bone" else 0.55,  # a sharp kernel goes with the small focal spot
        pixel_mm=float(window.pixel_mm or round(pixel, 4)),
        slice_mm=slice_mm * window.slice_scale,
        output_slice_mm=output * window.slice_scale if output else None,
        kilovolt=100 if differ("voltage") else 120,
        noise_hu=float(low + level * (high - low)),
        streak_hu=float(3 + 5 * streak) * (2.0 if differ("noise") else 1.0),
        offset_hu=(-8.0 if hard else -4.0) if differ("calibration") else 0.0,
        slope=(0.96 if hard else 0.985) if differ("calibration") else 1.0,
        cupping_hu=float((25 if hard else 15) + 15 * cup) if differ("cupping") else float(8 + 6 * cup),
        contrast_hu=float(rng.uniform(10, 30)) if differ("contrast") else 0.0,
        calibration_rods=window.full_field,
    )


def label_protocol(centre: Centre) -> LabelProtocol:
    """How this centre's readers draw."""
    if "label_protocol" in centre.differs and centre.name == "rochester":
        return LabelProtocol(shaft_below_trochanter_mm=34.0, contour_shift_pixels=0.5)
    return LabelProtocol()


def scan_case(
    centre: Centre,
    seed: int,
    *,
    patient: Patient | None = None,
    pose: Pose | None = None,
    scanner: Scanner | None = None,
    noise_seed: int | None = None,
    window: Window | None = None,
) -> PhantomCase:
    """Scan one patient at one centre.

    Args:
        centre: where.
        seed: fixes the patient, pose, settings and noise.
        patient, pose: given ones are scanned instead of drawn ones: the same person on another machine.
        scanner: a given one is used instead of the centre's; it also sets pixel and slice.
        noise_seed: another repetition of the same scan.
        window: what is kept of the scan.

    Raises:
        UserError: a window that does not hold the femur.
    """
    window = window or Window()
    patient = patient or _draw_patient(centre, seed)
    pose = pose or draw_pose(seed, 2.5 if "positioning" in centre.differs and centre.name == "rochester" else 1.0)
    scanner = scanner or draw_scanner(centre, seed, window)
    protocol = label_protocol(centre)
    shaft_end = _shaft_end(patient, pose, protocol)
    grid = _grid(patient, pose, scanner, window, shaft_end, np.random.default_rng([seed, 41]))
    result = scan(patient, pose, scanner, grid, seed if noise_seed is None else noise_seed)
    label = result.anatomy.label(grid, shaft_end, protocol.contour_shift_pixels * scanner.pixel_mm)
    _check_inside(label, window)
    return PhantomCase(
        image=np.rint(result.image).astype(np.int16),
        label=label,
        spacing_mm=grid.spacing_mm,
        origin_mm=grid.origin_mm[::-1],
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        sex=patient.sex,
        age_years=patient.age_years,
        densities=_densities(patient),
        patient=patient,
        pose=pose,
        scanner=scanner,
    )


def _draw_patient(centre: Centre, seed: int) -> Patient:
    who = {"tulane": population.TULANE, "rochester": population.ROCHESTER}[centre.people]
    disease = 2.5 if centre.severity == 2 and centre.people == "rochester" else 1.0
    return draw_patient(
        who if "population" in centre.differs else population.BOTH,
        seed,
        cortex_by_age="cortex" in centre.differs,
        joint_by_age="joint" in centre.differs,
        disease=disease,
    )


def _densities(patient: Patient) -> dict[str, float]:
    """True densities in mg/cm3."""
    names = ("trabecular_head", "trabecular_neck", "trabecular_trochanter", "ward_density", "cortical_density")
    return {name: round(getattr(patient, name), 2) for name in names}


def _shaft_end(patient: Patient, pose: Pose, protocol: LabelProtocol) -> float:
    lesser = femur.to_patient_axes(femur.landmarks(patient).lesser_trochanter, pose)
    return lesser[2] - protocol.shaft_below_trochanter_mm * patient.size


def _grid(patient: Patient, pose: Pose, scanner: Scanner, window: Window, shaft_end: float, rng: np.random.Generator) -> Grid:
    """The crop about the left proximal femur, placed with some play."""
    size = _window_size(patient, scanner, window, shaft_end, rng)
    spacing = (scanner.final_slice_mm, scanner.pixel_mm, scanner.pixel_mm)
    shape = tuple(max(round(s / d), 1) for s, d in zip(size, spacing, strict=True))
    play = rng.uniform(-1, 1, 3) * (0 if window.full_field else 5)
    top = patient.head_radius_mm + patient.osteophyte_mm
    centre_z = 0.5 * (top + shaft_end) + 0.5 * play[0]
    x, y, _ = femur.to_patient_axes(femur.landmarks(patient).neck_shaft, pose)
    centre_x = 0.0 if window.full_field else patient.hip_half_distance_mm + 0.5 * (x + 20 * patient.size - top) + play[2]
    centre_y = 20.0 if window.full_field else 0.45 * y + 3 + play[1]
    middle = (centre_z, centre_y, centre_x)
    origin = tuple(float(m - 0.5 * (n - 1) * d) for m, n, d in zip(middle, shape, spacing, strict=True))
    return Grid(shape, spacing, origin)  # type: ignore[arg-type]


def _window_size(patient: Patient, scanner: Scanner, window: Window, shaft_end: float, rng: np.random.Generator) -> Triple:
    above, below = rng.uniform(14, 40, 2)
    height = patient.head_radius_mm + patient.osteophyte_mm - shaft_end + above + below
    width = (window.pixels or (512 if window.full_field else 192)) * scanner.pixel_mm
    return window.size_mm or (float(height), width, width)


def _check_inside(label: NDArray[np.uint8], window: Window) -> None:
    """The femur must not touch the faces of the image."""
    if not label.any():
        raise UserError("the window must hold the left proximal femur, but no part of it is inside: enlarge window_mm")
    for axis in range(3):
        hit = np.nonzero(label.any(axis=tuple(a for a in range(3) if a != axis)))[0]
        if hit[0] == 0 or hit[-1] == label.shape[axis] - 1:
            cut = f"cut along {'ZYX'[axis]} by {window}"
            raise UserError(f"the window must hold the whole left proximal femur, but it is {cut}: enlarge window_mm")


def without_noise(scanner: Scanner) -> Scanner:
    """The same machine with infinitely many photons."""
    return replace(scanner, noise_hu=0.0, streak_hu=0.0)
