"""What a CT scanner makes of an anatomy: sampling, blur, slices, beam, noise; each factor one field of `Scanner`."""

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from nnunet_da.errors import UserError
from nnunet_da.phantom.anatomy import AIR_HU, Anatomy, Material, PlaneSampler
from nnunet_da.phantom.fixtures import Fixtures
from nnunet_da.phantom.grid import Grid
from nnunet_da.phantom.kernels import KERNELS, Kernel
from nnunet_da.phantom.noise import coloured_noise, streak_noise
from nnunet_da.phantom.patient import Patient, Pose
from nnunet_da.phantom.shapes import Field

# HU per mg/cm3 of mineral, by tube voltage in kVp
HU_PER_MINERAL = {80: 1.72, 100: 1.47, 120: 1.25, 140: 1.14}
_LONGEST_SLAB_MM = 1.25
_MARGIN_MM = 5.0
_SPARE_SLICES = 6  # acquired beyond each end, so that Fourier interpolation does not wrap into the image
HU_RANGE = (-1024, 3071)


@dataclass(frozen=True)
class Scanner:
    """Every number of a scan. Lengths in mm, HU where not said otherwise."""

    kernel: str = "standard"
    blur_mm: float = 0.55  # SD of what the kernel's MTF, stated for the centre of the field, leaves out: focal spot, rotation, motion
    pixel_mm: float = 0.85
    slice_mm: float = 2.5  # thickness and increment of the acquired slices
    output_slice_mm: float | None = None  # re-gridded to this by Fourier interpolation; None keeps the acquired slices
    kilovolt: int = 120
    noise_hu: float = 18.0  # SD in a patient of ordinary size
    streak_hu: float = 6.0  # SD of the streaks between the hips
    offset_hu: float = 0.0
    slope: float = 1.0
    cupping_hu: float = 0.0  # how much darker the middle of an ordinary body is than its rim
    contrast_hu: float = 0.0  # added to muscle by contrast agent; five times as much in vessels
    calibration_rods: bool = False
    table: bool = True

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise UserError(f"kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        if self.kilovolt not in HU_PER_MINERAL:
            raise UserError(f"kilovolt must be one of {', '.join(map(str, HU_PER_MINERAL))}, got {self.kilovolt}")
        for name in ("pixel_mm", "slice_mm", "final_slice_mm"):
            if not 0.1 <= getattr(self, name) <= 20:
                raise UserError(f"{name} must be 0.1 to 20 mm, got {getattr(self, name)}")
        for name in ("noise_hu", "streak_hu", "blur_mm"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def final_slice_mm(self) -> float:
        """Distance between the slices of the image."""
        return self.slice_mm if self.output_slice_mm is None else self.output_slice_mm


class Scan(NamedTuple):
    """HU (Z, Y, X) float32, its grid, and the anatomy it shows."""

    image: Field
    grid: Grid
    anatomy: Anatomy


def scan(patient: Patient, pose: Pose, scanner: Scanner, grid: Grid, seed: int) -> Scan:
    """Scan a patient.

    Args:
        patient: the anatomy.
        pose: how the leg lies.
        scanner: what the machine does.
        grid: the image's grid; its spacing must be the scanner's.
        seed: of the noise alone.

    Returns:
        The image in HU within HU_RANGE, not rounded.
    """
    expected = (scanner.final_slice_mm, scanner.pixel_mm, scanner.pixel_mm)
    if not np.allclose(grid.spacing_mm, expected):
        raise UserError(f"the grid's spacing must be the scanner's {expected}, got {grid.spacing_mm}: build the grid from the scanner")
    acquired = _acquisition_grid(scanner, grid)
    anatomy = Anatomy(patient, pose, *_box(acquired))
    image = _with_beam(_blurred(anatomy, scanner, acquired), patient, scanner, acquired)
    image += _noise(patient, scanner, acquired, np.random.default_rng(seed))
    image = _regridded(image, acquired, grid)
    return Scan(np.clip(image * scanner.slope + scanner.offset_hu, *HU_RANGE).astype(np.float32), grid, anatomy)


def _acquisition_grid(scanner: Scanner, grid: Grid) -> Grid:
    """The slices the machine takes: the image's own, or others over the same length and some more, a whole number of both."""
    wanted, taken = grid.spacing_mm[0], scanner.slice_mm
    if np.isclose(taken, wanted):
        return grid
    ratio = Fraction(taken / wanted).limit_denominator(30)
    if not np.isclose(float(ratio), taken / wanted):
        raise UserError(f"output_slice_mm must be slice_mm times a ratio of whole numbers up to 30, got {wanted} and {taken}")
    count = int(np.ceil((grid.shape[0] + 2 * _SPARE_SLICES) * wanted / taken))
    count = -(-count // ratio.denominator) * ratio.denominator
    return Grid((count, *grid.shape[1:]), (taken, *grid.spacing_mm[1:]), (grid.origin_mm[0] - _SPARE_SLICES * wanted, *grid.origin_mm[1:]))


def _box(grid: Grid) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    low = tuple(o - s - _MARGIN_MM for o, s in zip(grid.origin_mm, grid.spacing_mm, strict=True))
    high = tuple(o + s * n + _MARGIN_MM for o, s, n in zip(grid.origin_mm, grid.spacing_mm, grid.shape, strict=True))
    return low, high  # type: ignore[return-value]


def _blurred(anatomy: Anatomy, scanner: Scanner, grid: Grid) -> Field:
    """HU of each slice: material over its thickness, point spread in its plane, sampled at pixel centres."""
    kernel = KERNELS[scanner.kernel]
    factor = max(2, int(np.ceil(1.8 * scanner.pixel_mm * min(kernel.f10_lp_cm / 10, 1.1))))
    margin = int(np.ceil(_MARGIN_MM / scanner.pixel_mm)) * factor
    step = scanner.pixel_mm / factor
    axes = [_fine_axis(grid, which, factor, margin) for which in (1, 2)]
    sampler = anatomy.sampler(axes[0], axes[1], scanner.contrast_hu)
    fixtures = Fixtures(anatomy.patient, scanner.table, scanner.calibration_rods).material(*axes)
    blur = _Blur(kernel, scanner.blur_mm, step, (len(axes[0]), len(axes[1])))
    out = np.empty(grid.shape, dtype=np.float32)
    for k, z in enumerate(grid.axis(0)):
        hu = _slice_hu(sampler, scanner, float(z), fixtures)
        out[k] = blur(hu)[margin::factor, margin::factor][: grid.shape[1], : grid.shape[2]]
    return out


def _fine_axis(grid: Grid, which: int, factor: int, margin: int) -> NDArray[np.float32]:
    """Sampling positions: each pixel centre, factor - 1 between, and a margin."""
    step = grid.spacing_mm[which] / factor
    count = grid.shape[which] * factor + 2 * margin
    return (grid.origin_mm[which] + step * (np.arange(count) - margin)).astype(np.float32)


def _slice_hu(sampler: PlaneSampler, scanner: Scanner, z_mm: float, fixtures: Material) -> Field:
    """Mean HU over the slice's thickness."""
    count = int(np.ceil(scanner.slice_mm / _LONGEST_SLAB_MM))
    edges = z_mm + scanner.slice_mm * (np.arange(count + 1) / count - 0.5)
    slope = HU_PER_MINERAL[scanner.kilovolt]
    total = sum(sampler.slab(low, high).hu(slope) for low, high in itertools.pairwise(edges))
    body = total / np.float32(count)
    outside = fixtures.hu(slope) - np.float32(AIR_HU)
    return body + outside * (body < AIR_HU + 1)


class _Blur:
    """In-plane convolution with a kernel on a fine grid, by FFT with mirrored edges left to the margin."""

    def __init__(self, kernel: Kernel, blur_mm: float, step_mm: float, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._padded = tuple(fft.next_fast_len(n, real=True) for n in shape)
        fy = np.fft.fftfreq(self._padded[0], step_mm)[:, None]
        fx = np.fft.rfftfreq(self._padded[1], step_mm)[None, :]
        f = np.hypot(fy, fx)
        box = np.maximum(np.sinc(f * step_mm), 0.3)  # the samples are means over the step already
        self._response = (kernel.mtf(f) * np.exp(-2 * (np.pi * blur_mm * f) ** 2) / box).astype(np.float32)

    def __call__(self, plane: Field) -> Field:
        padded = np.pad(plane, [(0, p - n) for p, n in zip(self._padded, self._shape, strict=True)], mode="edge")
        blurred = fft.irfft2(fft.rfft2(padded) * self._response, s=self._padded)
        out: Field = blurred[: self._shape[0], : self._shape[1]]
        return out


def _with_beam(image: Field, patient: Patient, scanner: Scanner, grid: Grid) -> Field:
    """Cupping: beam hardening darkens the middle of the body, more in a large one."""
    if scanner.cupping_hu == 0:
        return image
    half = patient.hip_half_distance_mm + 68 * patient.size + patient.fat_thickness_mm
    x, y = grid.axis(2)[None, :], grid.axis(1)[:, None]
    radius2 = np.minimum((x / half) ** 2 + ((y - 6) / (0.62 * half)) ** 2, 1)
    depth = scanner.cupping_hu * body_size(patient) ** 2 * (1 - radius2)
    tissue = np.clip((image - AIR_HU) / 900, 0, 1)
    return (image - tissue * depth).astype(np.float32)


def body_size(patient: Patient) -> float:
    """Width of the hips relative to an ordinary body of 350 mm."""
    return 2 * (patient.hip_half_distance_mm + 68 * patient.size + patient.fat_thickness_mm) / 350


def _noise(patient: Patient, scanner: Scanner, grid: Grid, rng: np.random.Generator) -> Field:
    """Coloured noise, stronger in large patients, and streaks where both hips lie in the beam."""
    kernel = KERNELS[scanner.kernel]
    gain = np.float32(np.exp(2.2 * (body_size(patient) - 1)))
    noise = scanner.noise_hu * coloured_noise(grid, kernel, rng)
    if scanner.streak_hu > 0:
        between_hips = np.exp(-0.5 * ((grid.axis(0) + 15) / 35) ** 2).astype(np.float32)
        noise += scanner.streak_hu * between_hips[:, None, None] * streak_noise(grid, kernel, rng)
    return gain * noise


def _regridded(image: Field, acquired: Grid, grid: Grid) -> Field:
    """Fourier interpolation along z to the image's own slices; frequencies the wider spacing cannot hold are dropped."""
    if acquired is grid:
        return image
    count = round(acquired.shape[0] * acquired.spacing_mm[0] / grid.spacing_mm[0])
    out: Field = signal.resample(image, count, axis=0)[_SPARE_SLICES : _SPARE_SLICES + grid.shape[0]]
    return out
