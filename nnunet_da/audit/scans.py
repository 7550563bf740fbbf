"""Which scans an audit looks at, whose they are, and what their headers say."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.conversion.tables import Table, read_table
from nnunet_da.datasets import RawDataset, find_dataset
from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import Geometry, read_geometry

TRAIN, TEST = "train", "test"
SOURCE, TARGET = "source", "target"
THICK = 3.0  # stock nnU-Net resamples slices on their own above this ratio of spacings


@dataclass(frozen=True)
class AuditScan:
    """One scan of one dataset.

    Attributes:
        dataset: folder name, the domain.
        role: `SOURCE` or `TARGET`.
        split: `TRAIN` (imagesTr) or `TEST` (imagesTs).
        images: one file per channel.
        label: its label map, None where it has none or may not be opened.
        patient: who it shows, "" where that is not known.
    """

    dataset: str
    case: str
    role: str
    split: str
    images: tuple[Path, ...]
    label: Path | None = None
    patient: str = ""

    @property
    def name(self) -> str:
        """Unique in an audit."""
        return f"{self.dataset}/{self.split}/{self.case}"


@dataclass(frozen=True)
class Grid:
    """Facts of a header, axes Z, Y, X as nnU-Net reads them.

    Attributes:
        orientation: where the array's x, y and z axes point, such as "LPS".
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    orientation: str

    @property
    def field_mm(self) -> tuple[float, ...]:
        return tuple(n * edge for n, edge in zip(self.shape, self.spacing_mm, strict=True))

    @property
    def ratio(self) -> float:
        """Longest over shortest edge of a voxel; above `THICK` stock nnU-Net interpolates within slices only."""
        return max(self.spacing_mm) / min(self.spacing_mm)

    def facts(self) -> dict[str, float]:
        """Numbers that a site may be known by, before any voxel is looked at."""
        spacing, count, field = (dict(zip("zyx", values, strict=True)) for values in (self.spacing_mm, self.shape, self.field_mm))
        return {
            "slice_mm": spacing["z"],
            "pixel_y_mm": spacing["y"],
            "pixel_x_mm": spacing["x"],
            "slices": float(count["z"]),
            "rows": float(count["y"]),
            "columns": float(count["x"]),
            **{f"field_{axis}_mm": field[axis] for axis in "zyx"},
            "separate_z": float(self.ratio > THICK),
        }


def find_scans(source: RawDataset, targets: list[RawDataset], target_labels: bool, patients: Path | None) -> list[AuditScan]:
    """Every scan of imagesTr and imagesTs. Labels of targets are named only where the user allows it.

    Raises:
        UserError: a dataset without scans, or an unfit table of patients.
    """
    scans = _scans_of(source, SOURCE, labels=True)
    for target in targets:
        scans += _scans_of(target, TARGET, labels=target_labels)
    return scans if patients is None else _with_patients(scans, patients)


def find_datasets(source: str, targets: Iterable[str]) -> tuple[RawDataset, list[RawDataset]]:
    """Look the datasets up; each may stand in an audit once.

    Raises:
        UserError: one is not there, or stands twice.
    """
    found = [find_dataset(source), *map(find_dataset, targets)]
    names = [dataset.name for dataset in found]
    if len(set(names)) < len(names):
        raise UserError(f"an audit compares different datasets, got {', '.join(names)}: name each once")
    channels = {dataset.name: dataset.num_channels for dataset in found}
    if len(set(channels.values())) > 1:
        raise UserError(f"the datasets must have the same number of channels, got {channels}: audit those that belong together")
    return found[0], found[1:]


def read_grid(scan: AuditScan) -> Grid:
    """From the header of the first channel.

    Raises:
        UserError: no image, or not of three dimensions.
    """
    import SimpleITK as sitk

    geometry: Geometry = read_geometry(scan.images[0])
    if len(geometry.size) != 3:
        raise UserError(f"a scan must have 3 dimensions, {scan.images[0]} has {len(geometry.size)}: audit volumes")
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(geometry.direction)
    return Grid(geometry.size[::-1], geometry.spacing_mm, code)


def _scans_of(dataset: RawDataset, role: str, labels: bool) -> list[AuditScan]:
    splits = ((TRAIN, "labelsTr", dataset.training_images()), (TEST, "labelsTs", dataset.scans("imagesTs")))
    return [
        AuditScan(dataset.name, case, role, split, tuple(files), _label(dataset, folder, case) if labels else None)
        for split, folder, images in splits
        for case, files in images.items()
    ]


def _label(dataset: RawDataset, folder: str, case: str) -> Path | None:
    listed = dataset.description.get("dataset", {}).get(case, {}) if folder == "labelsTr" else {}
    file = dataset.folder / listed.get("label", f"{folder}/{case}{dataset.file_ending}")
    return file if file.exists() else None


def _with_patients(scans: list[AuditScan], file: Path) -> list[AuditScan]:
    from dataclasses import replace

    table = _read_patients(file)
    by_dataset = "dataset" in table
    names = {str(int(name[len("Dataset") :][:3])): name for name in (scan.dataset for scan in scans)}
    keys = [(names.get(row["dataset"].lstrip("0"), row["dataset"]) if by_dataset else "", row["case"]) for row in table.rows]
    patient_of = dict(zip(keys, (row["patient"] for row in table.rows), strict=True))
    if len(patient_of) < len(keys):
        twice = " ".join(filter(None, next(key for key in keys if keys.count(key) > 1)))
        raise UserError(f"{file} must name each case once, but '{twice}' stands there twice: remove one, or add a column 'dataset'")
    found = [replace(scan, patient=patient_of.get((scan.dataset if by_dataset else "", scan.case), "")) for scan in scans]
    if not any(scan.patient for scan in found):
        raise UserError(f"{file} must name cases of the datasets, such as '{scans[0].case}', it names none: correct its column 'case'")
    return found


def _read_patients(file: Path) -> Table:
    table = read_table(file, "the table of patients", ["case"])
    if "patient" not in table:
        raise UserError(f"{file} must have the columns case and patient, it has {', '.join(table.columns)}: correct it")
    return table
