"""Everything that is measured on one scan, in one reading of its files."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nnunet_da.audit.features import measure_features
from nnunet_da.audit.fingerprint import Fingerprint, fingerprint
from nnunet_da.audit.labels import measure_labels
from nnunet_da.audit.preprocessed import Preprocessing, noise_on, padding, preprocess
from nnunet_da.audit.quality import measure_quality
from nnunet_da.audit.scans import AuditScan, Grid
from nnunet_da.conversion.images import read_image, voxels_zyx
from nnunet_da.errors import UserError

HU_PERCENTILES = ("p01", "p05", "p25", "p50", "p75", "p95", "p99")


@dataclass(frozen=True)
class Job:
    """One scan to measure.

    Attributes:
        channels: the source's names of the channels, for every dataset: nnU-Net tells channels by their place.
        in_hu: whether the first channel is CT.
        labels: label value, or the values of a region -> name.
        step_mm: of the fingerprint.
        preprocessing: None to leave that part out.
    """

    scan: AuditScan
    grid: Grid
    channels: tuple[str, ...]
    in_hu: bool
    labels: Mapping[int | tuple[int, ...], str]
    step_mm: float
    preprocessing: Preprocessing | None


@dataclass(frozen=True)
class Measured:
    """What one scan gave.

    Attributes:
        quality: noise and edge widths, empty where the first channel is no CT.
        raw, after, noise: features of the scan, of the preprocessed scan, of preprocessed noise on its grid.
        padding: share of a patch outside the preprocessed scan.
        labels: label name -> its measures.
        label_problem: why they could not be measured.
    """

    scan: AuditScan
    grid: Grid
    quality: dict[str, float]
    raw: dict[str, float]
    after: dict[str, float]
    noise: dict[str, float]
    padding: float
    fingerprint: Fingerprint
    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    label_problem: str = ""


def is_ct(channel: str) -> bool:
    """Whether nnU-Net treats a channel as CT."""
    return channel.casefold() == "ct"


def measure(job: Job) -> Measured:
    """Measure one scan.

    Raises:
        UserError: a file cannot be read, or a channel is missing.
    """
    if len(job.scan.images) != len(job.channels):
        raise UserError(f"a scan must have {len(job.channels)} channel(s) as in dataset.json, found {len(job.scan.images)}: add the files")
    images = [read_image(file) for file in job.scan.images]
    volumes = [voxels_zyx(image) for image in images]
    quality = measure_quality(volumes[0], job.grid.spacing_mm) if job.in_hu else {}
    raw = _features(volumes, job.channels)
    prints = fingerprint(images[0], job.step_mm)
    after: dict[str, float] = {}
    noise: dict[str, float] = {}
    padded = 0.0
    if job.preprocessing is not None:
        data = preprocess(job.scan, volumes, job.grid, job.preprocessing)
        after, padded = _features(list(data), job.channels), padding(data.shape[1:], job.preprocessing)
        noise = measure_features(noise_on(job.grid, job.preprocessing, zlib.crc32(job.scan.name.encode())))
    labels, problem = _labels(job)
    return Measured(job.scan, job.grid, quality, raw, after, noise, padded, prints, labels, problem)


def _labels(job: Job) -> tuple[dict[str, dict[str, float]], str]:
    """What the label map gave, or why it gave nothing: its scan is audited all the same."""
    if job.scan.label is None:
        return {}, ""
    try:
        return measure_labels(job.scan.label, job.scan.images[0], dict(job.labels)), ""
    except UserError as error:
        return {}, str(error)


def _features(volumes: list, channels: tuple[str, ...]) -> dict[str, float]:
    """Of every channel; named by it where there are several."""
    return {
        f"{prefix}{name}": value
        for prefix, volume in zip(prefixes(channels), volumes, strict=True)
        for name, value in measure_features(volume).items()
    }


def prefixes(channels: Sequence[str]) -> list[str]:
    """What the names of each channel's features begin with: nothing for the only one; its place tells channels of one name apart."""
    if len(channels) == 1:
        return [""]
    return [f"{name}: " if channels.count(name) == 1 else f"{name} {place}: " for place, name in enumerate(channels)]
