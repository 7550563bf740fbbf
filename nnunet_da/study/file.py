"""The study file: what is compared, on what, how often; checked before anything runs."""

import dataclasses
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

LARGEST_SEED = 2**31 - 1
REFERENCES = ("source_only", "zero_weight", "oracle", "joint")
RESERVED = ("comparison", "figures", "tables")  # folders beside the arms' in what the report shows
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

    def check(self) -> None:
        """Raises UserError where no dataset could be made of it."""
        from nnunet_da.phantom.cohort import Window, centre, switched

        if not 1 <= self.id <= 999 or not WORD.fullmatch(self.name):
            raise UserError(f"'id' must be 1 to 999 and 'name' one word, got {self.id} and '{self.name}'")
        if self.train < 1 or self.test < 0 or self.seed < 0:
            raise UserError(f"'train' must be 1 or more, 'test' and 'seed' 0 or more, got {self.train}, {self.test} and {self.seed}")
        if self.window_mm is not None and len(self.window_mm) != 3:
            raise UserError(f"'window_mm' must be three sizes Z Y X in mm, got {self.window_mm}")
        centre(self.centre, self.severity, people=None, **switched(self.on, self.off))
        size = None if self.window_mm is None else (self.window_mm[0], self.window_mm[1], self.window_mm[2])
        Window(size_mm=size, pixel_mm=self.pixel_mm, slice_scale=self.slice_scale)


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
        confidence: least mean probability of a scan's predicted foreground from which the scan is kept, for `self_train`; 0.9 where None.
    """

    name: str
    title: str = ""
    trainer: str | None = None
    preset: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    adapt_bn: str | None = None
    self_train: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        if not WORD.fullmatch(self.name):
            raise UserError(f"an arm's name must be one word of letters, digits and single underscores, got '{self.name}': rename it")
        if self.name in RESERVED:
            raise UserError(
                f"an arm must not be called {', '.join(RESERVED)}, as the report's own folders are, got '{self.name}': rename it"
            )


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
        content["primary"] = build(Primary, _with_text(content["primary"], "label"), f"{file.name}, 'primary'")
    if isinstance(content.get("resources"), dict):
        content["resources"] = {
            str(kind): build(Resources, values, f"{file.name}, 'resources', '{kind}'") for kind, values in content["resources"].items()
        }
    study = build(StudyFile, content, file.name)
    check_study(study, file.name)
    return replace(study, title=study.title or study.name)


def find_study(file: Path) -> Path:
    """The file itself, or a study of `plans/studies` by its name.

    Raises:
        UserError: neither.
    """
    folder = paths.plans_dir() / "studies"
    if file.is_file():
        return file
    if len(file.parts) == 1 and (folder / f"{file}.yaml").is_file():
        return folder / f"{file}.yaml"
    shipped = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
    raise UserError(f"a study file was expected, {file} is none: check the path, or name one that ships with the package ({shipped})")


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
    if any(not 0 <= seed <= LARGEST_SEED for seed in study.seeds) or any(fold < 0 for fold in study.folds):
        raise UserError(
            f"{where}: folds must be 0 or more and seeds 0 to {LARGEST_SEED}, got {study.folds} and {study.seeds}: correct them"
        )
    _check_sizes(study, where)
    refuse_twice(f"{where}: arms", [arm.name for arm in study.arms])
    refuse_twice(f"{where}: test sets", [str(test.dataset) for test in study.test_sets])
    refuse_twice(f"{where}: phantom datasets", [str(spec.id) for spec in study.phantom])
    for spec in study.phantom:
        try:
            spec.check()
        except UserError as error:
            raise UserError(f"{where}: the phantom dataset {spec.id}: {error}: correct it") from error
    unknown = [name for name in study.references or [] if name not in REFERENCES]
    if unknown:
        raise UserError(f"{where}: 'references' may be {', '.join(REFERENCES)}, got '{unknown[0]}': correct it")
    if not study.arms:
        raise UserError(f"{where}: 'arms' must name at least one arm beside the references, got none: add one")
    for name in ("seed", "preset", "target_datasets"):
        if name in study.settings or any(name in arm.settings for arm in study.arms):
            raise UserError(f"{where}: the study itself sets '{name}': take it out of 'settings'")


def _check_sizes(study: StudyFile, where: str) -> None:
    """Raises UserError where a number is one that no network, no score or no machine could take."""
    for name, values in (("patch_size", study.patch_size), ("spacing_mm", study.spacing_mm)):
        if values is not None and (len(values) != 3 or min(values) <= 0):
            raise UserError(f"{where}: '{name}' must be three numbers Z Y X above 0, got {values}: correct it")
    if study.batch_size is not None and study.batch_size < 1:
        raise UserError(f"{where}: 'batch_size' must be 1 or more, got {study.batch_size}: correct it")
    if not study.nsd_mm:
        raise UserError(f"{where}: 'nsd_mm' must name a tolerance in mm, got none: leave it out for 1 mm")
    for kind, asked in study.resources.items():
        for name, value in dataclasses.asdict(asked).items():
            if value is not None and value < (0 if name == "gpu" else 1):
                raise UserError(
                    f"{where}: 'resources', '{kind}': '{name}' must be {0 if name == 'gpu' else 1} or more, got {value}: correct it"
                )


def refuse_twice(what: str, names: Sequence[str]) -> None:
    """Raises UserError where a name comes twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{what} need different names, '{twice[0]}' comes twice: rename one")


def _built_list(values: Any, kind: type, where: str) -> list[Any]:
    if not fits(values, list[Any]):
        raise UserError(f"{where} must be a list, got {type(values).__name__}: write each entry behind a dash")
    prepared = [_with_text(value, "dataset") if kind is ScoredSet else value for value in values]
    return [build(kind, value, f"{where}, entry {number}") for number, value in enumerate(prepared, start=1)]


def _with_text(values: Any, name: str) -> Any:
    """An id or a label's value may be written as a number."""
    return {**values, name: str(values[name])} if isinstance(values, dict) and fits(values.get(name), int) else values
