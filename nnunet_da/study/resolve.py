"""Study file to study: every name looked up, every demand checked that can be before anything runs."""

from dataclasses import replace
from pathlib import Path

from nnunet_da.datasets import RawDataset, find_dataset
from nnunet_da.errors import UserError
from nnunet_da.evaluation.labels import read_labels
from nnunet_da.evaluation.overlap import OVERLAPS
from nnunet_da.evaluation.statistics import direction
from nnunet_da.evaluation.surface import DISTANCES, nsd_name
from nnunet_da.study.arms import Arm, resolve_arms
from nnunet_da.study.declaration import declaration_of
from nnunet_da.study.file import PhantomSpec, Primary, ScoredSet, StudyFile
from nnunet_da.study.gpus import number_of_gpus
from nnunet_da.study.jobs import DEFAULTS
from nnunet_da.study.study import Study


def resolve(file: StudyFile) -> Study:
    """Look up datasets, trainers, presets and arms.

    Raises:
        UserError: an unknown one, test scans without labels, an oracle without target labels, a question about arms of different plans.
    """
    unknown = [kind for kind in file.resources if kind not in DEFAULTS]
    if unknown:
        raise UserError(f"'resources': '{unknown[0]}' is no kind of job, expected one of {', '.join(DEFAULTS)}: correct it")
    datasets = _Datasets(file)
    source, targets = datasets.name(file.source), [datasets.name(target) for target in file.targets]
    if len(set(targets)) < len(targets):
        raise UserError(f"targets must be different datasets, got {', '.join(targets)}: name each once")
    if source in targets:
        raise UserError(f"source and target must be different datasets, got {source} for both: give the other centre as target")
    tests = _tests(file, datasets, source, targets)
    arms = resolve_arms(file, all(datasets.labelled(target) for target in targets))
    baseline, primary = _question(file, datasets, arms, targets)
    _refuse_trained_tests(arms, tests, targets)
    _refuse_several_targets(arms, targets)
    used = dict.fromkeys([source, *targets, *(test.dataset for test in tests)])
    links = {name: str(datasets.folder(name)) for name in used if name not in datasets.made}
    study = Study(file, source, targets, links, tests, arms, _device(file.device), primary, baseline).numbered({})
    _check_declaration(study, datasets)
    return study


class _Datasets:
    """Those that the study makes, and the user's below `nnUNet_raw`."""

    def __init__(self, file: StudyFile) -> None:
        self.made = {spec.dataset: spec for spec in file.phantom}
        self._found: dict[str, RawDataset] = {}

    def name(self, id_or_name: str | int) -> str:
        """Full name. Raises UserError where there is no such dataset."""
        text = str(id_or_name)
        for name, spec in self.made.items():
            if text == name or (text.isdecimal() and int(text) == spec.id):
                return name
        try:
            dataset = find_dataset(text)
        except UserError as error:
            made = f"; the study makes {', '.join(self.made)}" if self.made else ""
            raise UserError(f"{error}{made}") from error
        self._found[dataset.name] = dataset
        return dataset.name

    def folder(self, name: str) -> Path:
        return self._found[name].folder.resolve()

    def spec(self, name: str) -> PhantomSpec | None:
        return self.made.get(name)

    def labelled(self, name: str) -> bool:
        """Whether all training scans have label maps; only their names are listed."""
        spec = self.spec(name)
        if spec is not None:
            return spec.labels
        dataset = self._found[name]
        return all((dataset.folder / "labelsTr" / f"{case}{dataset.file_ending}").is_file() for case in dataset.training_images())

    def label_keys(self, name: str) -> list[str]:
        """Labels as scores name them."""
        if self.spec(name) is not None:
            return ["1"]
        return list(read_labels(self._found[name].folder / "dataset.json").keys)

    def scored(self, test: ScoredSet) -> bool:
        """Whether a test set has scans and labels."""
        spec = self.spec(test.dataset)
        if spec is not None:
            return spec.test > 0 if test.images == "imagesTs" else spec.labels
        folder = self._found[test.dataset].folder
        return any((folder / test.images).glob("*")) and any((folder / test.labels).glob("*"))


def _tests(file: StudyFile, datasets: _Datasets, source: str, targets: list[str]) -> list[ScoredSet]:
    stated = [replace(test, dataset=datasets.name(test.dataset)) for test in file.test_sets]
    by_name = {test.dataset: test for test in stated}
    tests = [by_name.pop(name, ScoredSet(name)) for name in (source, *targets)] + list(by_name.values())
    for test in tests:
        if not datasets.scored(test):
            raise UserError(
                f"{test.dataset} must have scans in {test.images} and their label maps in {test.labels} to be scored, it has not:"
                " add them, or name other scans under test_sets (images: imagesTr scores the training scans of a target)"
            )
        if test.dataset == source and test.images == "imagesTr":
            raise UserError(f"the training scans of the source {source} cannot be its test cases: keep labelled scans apart in imagesTs")
    return tests


def _refuse_trained_tests(arms: list[Arm], tests: list[ScoredSet], targets: list[str]) -> None:
    trained = [arm.name for arm in arms if arm.kind in ("oracle", "joint")]
    for test in tests:
        if test.images == "imagesTr" and test.dataset in targets and trained:
            raise UserError(
                f"the arm '{trained[0]}' trains on the labels of {test.dataset}, whose training scans are test cases here:"
                " score imagesTs, or leave oracle and joint out with 'references'"
            )


def _refuse_several_targets(arms: list[Arm], targets: list[str]) -> None:
    looking = [arm.name for arm in arms if arm.kind in ("adapt_bn", "self_train")]
    if looking and len(targets) > 1:
        raise UserError(f"the arm '{looking[0]}' adapts to one target, the study has {len(targets)}: make a study for each target")


def _question(file: StudyFile, datasets: _Datasets, arms: list[Arm], targets: list[str]) -> tuple[str, Primary]:
    """The baseline and the primary question, filled in."""
    names = [arm.name for arm in arms]
    by_name = {arm.name: arm for arm in arms}
    baseline = file.primary.baseline or next((name for name in ("zero_weight", "source_only") if name in names), names[0])
    method = file.primary.method or next((arm.name for arm in arms if not arm.reference and arm.name != baseline), "")
    for what, name in (("baseline", baseline), ("method", method)):
        if name not in names:
            raise UserError(f"'primary' must name a {what} among the arms ({', '.join(names)}), got '{name}': correct it")
    if method == baseline:
        raise UserError(f"'primary' must compare two different arms, got '{method}' twice: correct it")
    one, other = by_name[method], by_name[baseline]
    if one.preset != other.preset:
        raise UserError(
            f"'primary' must compare arms of the same plans, '{method}' has the preset {one.preset} and '{baseline}' {other.preset}:"
            " choose arms that differ in the method alone"
        )
    target = datasets.name(file.primary.target) if file.primary.target is not None else targets[0]
    if target not in targets:
        raise UserError(f"'primary' must name one of the targets ({', '.join(targets)}), got {target}: correct it")
    return baseline, replace(file.primary, method=method, baseline=baseline, target=target)


def _check_declaration(study: Study, datasets: _Datasets) -> None:
    """What the statistics would refuse when everything is trained.

    Raises:
        UserError: a metric, label, margin or level that there is not.
    """
    file = study.file
    scored = {name for name in (*OVERLAPS, *DISTANCES, *map(nsd_name, file.nsd_mm)) if direction(name)}
    unknown = [metric for metric in (study.primary.metric, *file.margins) if metric not in scored]
    if unknown:
        raise UserError(f"'primary' and 'margins' may name {', '.join(sorted(scored))}, got '{unknown[0]}': correct it")
    declaration_of(study)
    known = datasets.label_keys(str(study.primary.target))
    if study.primary.label is not None and study.primary.label not in known:
        raise UserError(f"the label of 'primary' must be one of {', '.join(known)}, got '{study.primary.label}': name its value")


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    return "cuda" if number_of_gpus() else "cpu"
