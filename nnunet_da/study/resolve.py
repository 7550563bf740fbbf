"""Study file to study: every name looked up, every demand checked that can be before anything runs."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from nnunet_da.datasets import RawDataset, find_dataset, id_of
from nnunet_da.errors import UserError
from nnunet_da.evaluation.labels import read_labels
from nnunet_da.evaluation.overlap import OVERLAPS
from nnunet_da.evaluation.score import Scoring
from nnunet_da.evaluation.statistics import direction
from nnunet_da.evaluation.surface import DISTANCES, nsd_name
from nnunet_da.moved_plans import splits_of
from nnunet_da.planning_trainers import aligns
from nnunet_da.presets import load_preset
from nnunet_da.study.arms import Arm, resolve_arms
from nnunet_da.study.declaration import declaration_of
from nnunet_da.study.file import PhantomSpec, Primary, ScoredSet, StudyFile, refuse_twice
from nnunet_da.study.gpus import number_of_gpus
from nnunet_da.study.jobs import DEFAULTS
from nnunet_da.study.study import Study

STOCK_FOLDS = 5
MERGED_KEYS = ("channel_names", "file_ending", "labels", "regions_class_order")  # alike in datasets that one model learns from


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
    datasets.check_source(source)
    if len(set(targets)) < len(targets):
        raise UserError(f"targets must be different datasets, got {', '.join(targets)}: name each once")
    if source in targets:
        raise UserError(f"source and target must be different datasets, got {source} for both: give the other centre as target")
    tests = _tests(file, datasets, source, targets)
    _check_patch_and_device(file)
    lacking = _lacking(datasets, source, targets)
    arms = resolve_arms(file, lacking)
    left_out = {name: words for name, words in lacking.items() if file.references is None}
    baseline, primary = _question(file, datasets, arms, targets)
    _refuse_trained_tests(arms, tests, targets)
    _refuse_several_targets(arms, targets)
    used = dict.fromkeys([source, *targets, *(test.dataset for test in tests)])
    links = {name: str(datasets.folder(name)) for name in used if name not in datasets.made}
    study = Study(file, source, targets, links, tests, arms, _device(file.device), primary, baseline, left_out=left_out).numbered({})
    _refuse_own_ids(study)
    _check_batches(study)
    _check_folds(study, datasets)
    _check_labels(study, datasets)
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

    def without_label(self, name: str) -> str:
        """A training scan that has no label map, in words; "" where all have one. Only their names are listed."""
        spec = self.spec(name)
        if spec is not None:
            return "" if spec.labels else f"{name} is made without labelsTr (labels: false)"
        dataset = self._found[name]
        cases = dataset.training_images()
        missing = [case for case in cases if not (dataset.folder / "labelsTr" / f"{case}{dataset.file_ending}").is_file()]
        return f"{name} has no label map in labelsTr for '{missing[0]}' ({len(missing)} of {len(cases)} scans)" if missing else ""

    def unlike(self, name: str, other: str, keys: Sequence[str]) -> str:
        """An entry of dataset.json in which two of the user's datasets differ, in words; "" where they are alike."""
        if name in self.made or other in self.made:
            return ""
        here, there = self._found[name].description, self._found[other].description
        differs = [key for key in keys if here.get(key) != there.get(key)]
        return f"'{differs[0]}' of {other} is {there.get(differs[0])} and not {here.get(differs[0])} as of {name}" if differs else ""

    def check_source(self, name: str) -> None:
        """Raises UserError where the source has nothing to learn from."""
        spec = self.spec(name)
        if spec is None:
            self._found[name].training_labels()
        elif not spec.labels:
            raise UserError(f"the source {name} needs label maps, the phantom is made without: take 'labels: false' out")
        self.label_keys(name)  # refuses a dataset.json without foreground

    def folds(self, name: str) -> int:
        """Number of folds, the user's own or nnU-Net's five. Raises UserError where there are too few scans for those."""
        spec = self.spec(name)
        if spec is not None and spec.train < STOCK_FOLDS:
            raise UserError(f"{name} needs {STOCK_FOLDS} training scans for nnU-Net's folds, it is made with {spec.train}: make more")
        return STOCK_FOLDS if spec is not None else len(splits_of(self._found[name]))

    def channels(self, name: str) -> int:
        return self._found[name].num_channels if self.spec(name) is None else 1

    def file_ending(self, name: str) -> str:
        return self._found[name].file_ending if self.spec(name) is None else ".nii.gz"

    def label_keys(self, name: str) -> list[str]:
        """Labels as scores name them."""
        if self.spec(name) is not None:
            return ["1"]
        return list(read_labels(self._found[name].folder / "dataset.json").keys)

    def label_values(self, name: str) -> frozenset[int]:
        """Values that label maps may hold."""
        if self.spec(name) is not None:
            return frozenset({0, 1})
        return read_labels(self._found[name].folder / "dataset.json").allowed_values or frozenset()

    def not_scored(self, test: ScoredSet) -> str:
        """Why a test set cannot be predicted and scored, in words; "" where it can."""
        spec = self.spec(test.dataset)
        if spec is not None:
            return "" if (spec.test > 0 if test.images == "imagesTs" else spec.labels) else "it has none"
        dataset = self._found[test.dataset]
        scans = dataset.scans(test.images)
        if not scans:
            return f"it has no scan CASE_0000{dataset.file_ending}"
        for case, files in scans.items():
            if len(files) != dataset.num_channels:
                return f"'{case}' has {len(files)} of {dataset.num_channels} channels"
        if not any((dataset.folder / test.labels / f"{case}{dataset.file_ending}").is_file() for case in scans):
            return f"none of its {len(scans)} scans has a label map CASE{dataset.file_ending}"
        return ""


def _lacking(datasets: _Datasets, source: str, targets: list[str]) -> dict[str, str]:
    """What keeps the oracle and the joint arm from being trained."""
    unlabelled = next(filter(None, map(datasets.without_label, targets)), "")
    unlike = next(filter(None, (datasets.unlike(source, target, MERGED_KEYS) for target in targets)), "")
    found = {"oracle": unlabelled or unlike, "joint": unlabelled or unlike}
    if not found["oracle"] and len(targets) == 1:
        try:
            datasets.folds(targets[0])
        except UserError as error:
            found["oracle"] = str(error)
    return {name: words for name, words in found.items() if words}


def _tests(file: StudyFile, datasets: _Datasets, source: str, targets: list[str]) -> list[ScoredSet]:
    stated = [replace(test, dataset=datasets.name(test.dataset)) for test in file.test_sets]
    refuse_twice("test sets", [test.dataset for test in stated])
    by_name = {test.dataset: test for test in stated}
    tests = [by_name.pop(name, ScoredSet(name)) for name in (source, *targets)] + list(by_name.values())
    for test in tests:
        if test.dataset == source and test.images == "imagesTr":
            raise UserError(f"the training scans of the source {source} cannot be its test cases: keep labelled scans apart in imagesTs")
        lacking = datasets.not_scored(test)
        if lacking:
            raise UserError(
                f"{test.dataset} must have scans in {test.images} and their label maps in {test.labels} to be scored, but {lacking}:"
                " add them, or name other scans under test_sets (images: imagesTr scores the training scans of a target)"
            )
    for name in dict.fromkeys([*targets, *(test.dataset for test in tests)]):
        if (datasets.channels(name), datasets.file_ending(name)) != (datasets.channels(source), datasets.file_ending(source)):
            raise UserError(
                f"{name} must have {datasets.channels(source)} channel(s) in {datasets.file_ending(source)} files like the source {source},"
                f" it has {datasets.channels(name)} in {datasets.file_ending(name)}: convert it alike"
            )
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


def _check_patch_and_device(file: StudyFile) -> None:
    """Raises UserError where a patch size or a device is asked for that no arm could have."""
    presets = [load_preset(name) for name in dict.fromkeys([file.preset, *(arm.preset for arm in file.arms if arm.preset)])]
    if file.patch_size is not None and not any(preset.network for preset in presets):
        raise UserError("'patch_size' is for presets with a network of their own, stock networks plan theirs: take it out")
    if file.device == "mps" and sys.platform != "darwin":
        raise UserError(f"'device' mps is Apple's, this is {sys.platform}: choose cuda, cpu or auto")


def _check_batches(study: Study) -> None:
    """Raises UserError where an arm that aligns would have too few samples to align with."""
    for arm in sorted(study.arms, key=lambda arm: arm.reference):  # an arm of the file is the one to name
        batch_size = study.file.batch_size or load_preset(arm.preset).batch_size
        if aligns(arm.trainer) and batch_size is not None:
            try:
                arm.full_settings.check_batch(batch_size)
            except UserError as error:
                raise UserError(f"the arm '{arm.name}': {error}") from error


def _refuse_own_ids(study: Study) -> None:
    """Raises UserError where two datasets of the study would share an id, which stock nnU-Net refuses."""
    owner: dict[int, str] = {}
    made = dict.fromkeys(study.dataset(arm, run) for arm in study.arms for run in study.runs)
    for name in dict.fromkeys([*study.used, *made, *study.merged]):
        number = id_of(name)
        if number in owner:
            raise UserError(f"{owner[number]} and {name}, both of this study, have the id {number}: give one of your own another id")
        owner[number] = name


def _check_labels(study: Study, datasets: _Datasets) -> None:
    """Raises UserError where predictions could not be scored, or pseudo-labels not be merged with the source's labels."""
    for test in study.tests:
        allowed, learnt = datasets.label_values(test.dataset), datasets.label_values(study.source)
        if not learnt <= allowed:
            raise UserError(
                f"{test.dataset} must know the labels that models of {study.source} predict ({_listed(learnt)}) to be scored, its"
                f" dataset.json has {_listed(allowed)}: name all of them there, or take it out of the test sets"
            )
    unlike = datasets.unlike(study.source, study.targets[0], ("channel_names",))
    if unlike and any(arm.kind == "self_train" for arm in study.arms):
        raise UserError(f"self-training merges source and target, but {unlike}: make them alike")


def _listed(values: Collection[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def _check_folds(study: Study, datasets: _Datasets) -> None:
    """Raises UserError where a fold is asked for that there is not: nnU-Net would draw a split of its own and say so in its log alone."""
    oracle_alone = [study.targets[0]] if len(study.targets) == 1 and any(arm.kind == "oracle" for arm in study.arms) else []
    for name in (study.source, *oracle_alone):
        there = datasets.folds(name)
        missing = [fold for fold in study.file.folds if fold >= there]
        if missing:
            raise UserError(f"{name} has the folds 0 to {there - 1}, the study asks for fold {missing[0]}: correct 'folds'")


def _question(file: StudyFile, datasets: _Datasets, arms: list[Arm], targets: list[str]) -> tuple[str, Primary]:
    """The baseline and the primary question, filled in."""
    names = [arm.name for arm in arms]
    by_name = {arm.name: arm for arm in arms}
    baseline = file.primary.baseline or next((name for name in ("zero_weight", "source_only") if name in names), names[0])
    method = file.primary.method or next((arm.name for arm in arms if not arm.reference and arm.name != baseline), "")
    if not method:
        raise UserError(f"a study needs an arm beside the baseline '{baseline}' to ask about, got none: add one, or 'references'")
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
    try:
        Scoring(tuple(file.nsd_mm), file.field_of_view_mm)
    except UserError as error:
        raise UserError(f"'nsd_mm' or 'field_of_view_mm' cannot be scored with: {error}") from error
    learnt = datasets.label_keys(study.source)
    known = [key for key in datasets.label_keys(str(study.primary.target)) if key in learnt]
    if not known:
        raise UserError(f"{study.primary.target} must have a label of the source {study.source} ({', '.join(learnt)}), it has none")
    if study.primary.label is not None and study.primary.label not in known:
        raise UserError(f"the label of 'primary' must be one of {', '.join(known)}, got '{study.primary.label}': name its value")


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    return "cuda" if number_of_gpus() else "cpu"
