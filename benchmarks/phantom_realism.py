"""Compare the phantom with the real hip CTs of the test data; print a table, write pictures.

    python benchmarks/phantom_realism.py [--cases 12]

Exit 1 when a median of the phantom lies outside the accepted interval.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk
from PIL import Image

from nnunet_da import paths
from nnunet_da.phantom.cohort import PhantomCase, Window, centre, scan_case
from nnunet_da.phantom.patient import Pose
from nnunet_da.phantom.population import Population, draw_patient
from nnunet_da.phantom.realism import TOLERANCES, accepted, measure, tissue_masks
from nnunet_da.phantom.scanner import Scanner

REAL = ("STS_031", "STS_040", "STS_044")
PIXEL_MM, SLICE_MM = 0.9765625, 3.27
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
GREY = {"cmap": "gray", "vmin": -200, "vmax": 500}


def real_case(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Image, label, spacing; mirrored so that these right hips look like the phantom's left ones."""
    image, label = (sitk.ReadImage(str(folder / name / f)) for f in ("ct.nii.gz", "ct_femur_semiauto.nii.gz"))
    hu, mask = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label)
    return hu[:, :, ::-1], mask[:, :, ::-1], image.GetSpacing()[::-1]


def phantom_like_real(seed: int) -> PhantomCase:
    """An adult of 40 to 80 with the hip bent as in these PET/CTs, on their pixels and slices, noise of a soft kernel."""
    rng = np.random.default_rng([seed, 99])
    machine = Scanner(pixel_mm=PIXEL_MM, slice_mm=SLICE_MM, noise_hu=float(rng.uniform(12, 25)), cupping_hu=10.0)
    pose = Pose(flexion_deg=float(rng.uniform(30, 42)), adduction_deg=-5.0, rotation_deg=float(rng.uniform(-20, 5)))
    patient = draw_patient(Population(0.5, 40, 80), seed)
    return scan_case(centre("tulane", 0), seed, patient=patient, pose=pose, scanner=machine, window=Window(size_mm=(170, 165, 165)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    options = parser.parse_args()
    data = paths.test_data_dir()
    if data is None:
        print("no real test data: set NNUNET_DA_TEST_DATA")
        return 2
    real = [real_case(data / "hip_ct_mr", name) for name in REAL]
    phantoms = [phantom_like_real(seed) for seed in range(options.cases)]
    failing = print_table([measure(*case) for case in real], [measure(p.image, p.label, p.spacing_mm) for p in phantoms])
    PICTURES.mkdir(parents=True, exist_ok=True)
    draw_histograms(real, phantoms)
    draw_side_by_side(real, phantoms)
    draw_centres()
    print("failing: " + (", ".join(failing) or "none"))
    return 1 if failing else 0


def print_table(real: list[dict[str, float]], phantoms: list[dict[str, float]]) -> list[str]:
    """Print per quantity the real values, accepted interval, phantom median and range; return what fails."""
    print("| quantity | " + " | ".join(REAL) + " | accepted | phantom median | phantom 10-90 % | verdict |")
    print("|" + "---|" * (len(REAL) + 5))
    failing = []
    for key, tolerance in TOLERANCES.items():
        low, high = accepted([r[key] for r in real], tolerance)
        values = np.array([p[key] for p in phantoms])
        median, (p10, p90) = np.nanmedian(values), np.nanpercentile(values, [10, 90])
        inside = low <= median <= high
        failing += [] if inside else [key]
        digits = 2 if key == "edge_mm" else 0
        cells = [f"{v:.{digits}f}" for v in (*(r[key] for r in real), low, high, median, p10, p90)]
        n = len(REAL)
        verdict = "inside" if inside else "**FAILS**"
        print(
            f"| {key} | "
            + " | ".join(cells[:n])
            + f" | {cells[n]} to {cells[n + 1]} | {cells[n + 2]} | {cells[n + 3]} to {cells[n + 4]} | {verdict} |"
        )
    return failing


def draw_histograms(real: list, phantoms: list[PhantomCase]) -> None:
    """HU of each tissue, all cases pooled with equal weight."""
    cases = {"real": real, "phantom": [(p.image, p.label, p.spacing_mm) for p in phantoms]}
    figure, axes = plt.subplots(1, 5, figsize=(17, 3.2))
    for name, group in cases.items():
        masks = [(hu, tissue_masks(hu.astype(np.float32), label, spacing)) for hu, label, spacing in group]
        for axis, tissue in zip(axes, masks[0][1], strict=True):
            values = [hu[m[tissue]] for hu, m in masks]
            weights = [np.full(len(v), 1 / max(len(v), 1)) for v in values]
            low, high = np.percentile(np.concatenate(values), [0.5, 99.5])
            axis.hist(
                np.concatenate(values),
                bins=np.linspace(low, high, 40),
                weights=np.concatenate(weights),
                density=True,
                histtype="step",
                label=name,
            )
            axis.set_title(tissue)
            axis.set_xlabel("HU")
            axis.set_yticks([])
    axes[0].legend()
    _save(figure, "phantom_histograms.png")


def draw_side_by_side(real: list, phantoms: list[PhantomCase]) -> None:
    """Axial through the head and the trochanters, coronal and sagittal: a real row, a phantom row, twice."""
    rows = [("real " + n, *case) for n, case in zip(REAL[1:], real[1:], strict=True)]
    rows += [(f"phantom {p.sex} {p.age_years:.0f}", p.image, p.label, p.spacing_mm) for p in phantoms[:2]]
    figure, axes = plt.subplots(4, 4, figsize=(13, 13))
    for row, name, image, label, spacing in zip(axes, *zip(*[rows[i] for i in (0, 2, 1, 3)], strict=True), strict=True):
        _draw_views(row, image, label, spacing)
        row[0].set_title(name, loc="left")
    _save(figure, "phantom_and_real.png")


def draw_centres() -> None:
    """One patient of each centre at each severity."""
    figure, axes = plt.subplots(4, 4, figsize=(13, 13))
    specs = [("tulane", 1, 21), ("rochester", 1, 22), ("rochester", 1, 26), ("rochester", 2, 24)]
    for row, (name, severity, seed) in zip(axes, specs, strict=True):
        case = scan_case(centre(name, severity), seed)
        _draw_views(row, case.image, case.label, case.spacing_mm)
        row[0].set_title(f"{name}, severity {severity}, {case.sex} {case.age_years:.0f}", loc="left")
    _save(figure, "phantom_centres.png")
    full = scan_case(centre("rochester", 1), 22, window=Window(full_field=True))
    figure, axis = plt.subplots(figsize=(6, 6))
    middle = int(np.nonzero(full.label.any(axis=(1, 2)))[0].mean())
    axis.imshow(full.image[middle + 6], cmap="gray", vmin=-700, vmax=500)
    axis.contour(full.label[middle + 6], [0.5], colors="r", linewidths=0.6)
    axis.axis("off")
    _save(figure, "phantom_full_field.png")


def _draw_views(row: np.ndarray, image: np.ndarray, label: np.ndarray, spacing: tuple[float, float, float]) -> None:
    used = np.nonzero(label.any(axis=(1, 2)))[0]
    head, trochanter = (int(used[0] + share * (used[-1] - used[0])) for share in (0.84, 0.55))
    y = int(np.nonzero(label[used[0] :].any(axis=(0, 2)))[0].mean())
    middle = int(np.nonzero(label[trochanter].any(axis=0))[0].mean())
    y = int(np.nonzero(label[int(used[0] + 0.7 * (used[-1] - used[0]))].any(axis=1))[0].mean()) if label[head].any() else y
    planes = [
        (image[head], label[head], 1),
        (image[trochanter], label[trochanter], 1),
        (image[::-1, y], label[::-1, y], spacing[0] / spacing[2]),
        (image[::-1, :, middle], label[::-1, :, middle], spacing[0] / spacing[1]),
    ]
    for axis, (plane, outline, aspect) in zip(row, planes, strict=True):
        axis.imshow(plane, aspect=aspect, **GREY)
        if outline.any():
            axis.contour(outline, [0.5], colors="r", linewidths=0.5)
        axis.axis("off")


def _save(figure: plt.Figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(PICTURES / name, dpi=60)
    plt.close(figure)
    small = Image.open(PICTURES / name).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(PICTURES / name, optimize=True)  # with as many colours as anyone sees, two thirds of the bytes


if __name__ == "__main__":
    raise SystemExit(main())
