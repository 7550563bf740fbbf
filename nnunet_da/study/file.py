"""The study file: what is compared, on what, how often; checked before anything runs."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nnunet_da import paths
from nnunet_da.errors import UserError
from nnunet_da.study.yaml_file import read_yaml
from nnunet_da.typed_values import build, fits

REFERENCES = ("source_only", "zero_weight", "oracle", "joint")
WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class PhantomSpec:
    """A dataset of the synthetic centre that the study makes for itself; the options of `nnunet-da phantom`."""

    id: int
    name: str
    centre: str
    severity: int = 1
    on: list[str] = field(default_factory=list)
    off: list[str] = field(default_factory=list)
    train: int = 16
    test: int = 6
    seed: int = 0
    labels: bool = True
    window_mm: list[float] | None = None
    pixel_mm: float | None = None
    slice_scale: float = 1.0

    @property
    def dataset(self) -> str:
        return f"Dataset{self.id:03d}_{self.name}"


@dataclass(frozen=True)
class ArmSpec:
    """One arm as the file states it.

    Attributes:
        name: one word; the folder of its results.
        title: how the report calls it, the name where empty.
        trainer: nnU-Net trainer class.
        preset: recipe, the study's where None.
        settings: over the study's and the preset's.
        adapt_bn: arm whose trained models get the target's BatchNorm statistics instead of a training.
        self_train: arm whose predictions of the target are trained on in a second training.
        confidence: least mean probability of a scan's predicted foreground from which the scan is kept, for `self_train`.
    """

    name: str
    title: str = ""
    trainer: str | None = None
    preset: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    adapt_bn: str | None = None
    self_train: str | None = None
    confidence: float = 0.9

    def __post_init__(self) -> None:
        if not WORD.fullmatch(self.name):
            raise UserError(f"an arm's name must be one word of letters, digits and single underscores, got '{self.name}': rename it")


@dataclass(frozen=True)
class ScoredSet:
    """Scans that every arm predicts: a dataset's `imagesTs`, or its training images where no others are labelled."""

    dataset: str
    images: Literal["imagesTs", "imagesTr"] = "imagesTs"

    @property
    def labels(self) -> str:
        return self.images.replace("images", "labels")


@dataclass(frozen=True)
class Primary:
    """The one question that is asked first, declared before the study runs.

    Attributes:
        method: arm, the first adapting one where None.
        baseline: arm it is compared with.
        metric: endpoint.
        target: dataset, the first target where None.
        label: of the endpoint, the dataset's first where None.
        smallest_gain: least gain of the endpoint, in its unit, that would matter; 0.1 mm or 0.005 of a fraction where None.
        alpha: two-sided level of every test.
    """

    method: str | None = None
    baseline: str | None = None
    metric: str = "asd_mm"
    target: str | int | None = None
    label: str | None = None
    smallest_gain: float | None = None
    alpha: float = 0.05


@dataclass(frozen=True)
class Resources:
    """What one job of a kind may use."""

    threads: int | None = None
    gpu: int | None = None
    mem_mb: int | None = None
    runtime_minutes: int | None = None


@dataclass(frozen=True)
class StudyFile:
    """A study as its file states it; see docs/study.md.

    Attributes:
        name: one word.
        source: id or name of the labelled dataset.
        targets: ids or names of the datasets whose scans are adapted to.
        preset: recipe of all arms that name none.
        settings: of all arms.
        arms: those beyond the references.
        references: of `REFERENCES`, None for all that can be had.
        test_sets: beyond the source's and the targets' `imagesTs`, or instead of them for the same dataset.
        folds: of the source's cross-validation.
        seeds: one training per arm, fold and seed.
        margins: metric -> how much worse the source may get, in the metric's unit.
        patch_size, batch_size, spacing_mm: over the presets'.
        device: cuda, cpu, mps; "auto" takes a GPU where one is found.
        mirroring: predict with mirrored copies, as stock does.
        radiomics: features of the predictions of each arm's first run.
    """

    name: str
    source: str | int
    targets: list[str | int]
    preset: str
    arms: list[ArmSpec]
    title: str = ""
    note: str = ""
    phantom: list[PhantomSpec] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    references: list[str] | None = None
    test_sets: list[ScoredSet] = field(default_factory=list)
    folds: list[int] = field(default_factory=lambda: [0])
    seeds: list[int] = field(default_factory=lambda: [0])
    primary: Primary = field(default_factory=Primary)
    margins: dict[str, float] = field(default_factory=lambda: {"dice": 0.001, "hd95_mm": 0.2})
    patch_size: list[int] | None = None
    batch_size: int | None = None
    spacing_mm: list[float] | None = None
    device: Literal["auto", "cuda", "cpu", "mps"] = "auto"
    mirroring: bool = True
    radiomics: bool = True
    nsd_mm: list[float] = field(default_factory=lambda: [1.0])
    field_of_view_mm: float | None = None
    resources: dict[str, Resources] = field(default_factory=dict)


def read_study(file: Path) -> StudyFile:
    """Read and check a study file, or the one of that name that ships with the package.

    Raises:
        UserError: unreadable, unknown or ill-typed entries, duplicate names, nothing to train.
    """
    file = find_study(file)
    content = dict(read_yaml(file))
    for name, kind in (("phantom", PhantomSpec), ("arms", ArmSpec), ("test_sets", ScoredSet)):
        if name in content:
            content[name] = _built_list(content[name], kind, f"{file.name}, '{name}'")
    if "primary" in content:
        content["primary"] = build(Primary, content["primary"], f"{file.name}, 'primary'")
    if isinstance(content.get("resources"), dict):
        content["resources"] = {
            kind: build(Resources, values, f"{file.name}, 'resources', '{kind}'") for kind, values in content["resources"].items()
        }
    study = build(StudyFile, content, file.name)
    check_study(study, file.name)
    return replace(study, title=study.title or study.name)


def find_study(file: Path) -> Path:
    """The file itself, or a study of `plans/studies` by its name."""
    packaged = paths.plans_dir() / "studies" / f"{file}.yaml"
    return packaged if len(file.parts) == 1 and not file.suffix and not file.is_file() and packaged.is_file() else file


def check_study(study: StudyFile, where: str) -> None:
    """What types alone cannot say.

    Raises:
        UserError: as above.
    """
    if not WORD.fullmatch(study.name):
        raise UserError(f"{where}: 'name' must be one word of letters, digits and single underscores, got '{study.name}': rename it")
    for what, values in (("folds", study.folds), ("seeds", study.seeds), ("targets", study.targets)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"{where}: '{what}' must be a list of different values, got {values}: correct it")
    if any(not 0 <= seed < 2**31 for seed in study.seeds) or any(fold < 0 for fold in study.folds):
        raise UserError(f"{where}: folds and seeds must be whole numbers of 0 or more, got {study.folds} and {study.seeds}: correct them")
    refuse_twice(f"{where}: arms", [arm.name for arm in study.arms])
    refuse_twice(f"{where}: test sets", [str(test.dataset) for test in study.test_sets])
    refuse_twice(f"{where}: phantom datasets", [str(spec.id) for spec in study.phantom])
    unknown = [name for name in study.references or [] if name not in REFERENCES]
    if unknown:
        raise UserError(f"{where}: 'references' may be {', '.join(REFERENCES)}, got '{unknown[0]}': correct it")
    if not study.arms:
        raise UserError(f"{where}: 'arms' must name at least one arm beside the references, got none: add one")
    for name in ("seed", "preset", "target_datasets"):
        if name in study.settings or any(name in arm.settings for arm in study.arms):
            raise UserError(f"{where}: the study itself sets '{name}': take it out of 'settings'")


def refuse_twice(what: str, names: Sequence[str]) -> None:
    """Raises UserError where a name comes twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{what} need different names, '{twice[0]}' comes twice: rename one")


def _built_list(values: Any, kind: type, where: str) -> list[Any]:
    if not fits(values, list[Any]):
        raise UserError(f"{where} must be a list, got {type(values).__name__}: write each entry behind a dash")
    prepared = [
        {**value, "dataset": str(value["dataset"])} if kind is ScoredSet and isinstance(value, dict) and "dataset" in value else value
        for value in values
    ]
    return [build(kind, value, f"{where}, entry {number}") for number, value in enumerate(prepared, start=1)]
