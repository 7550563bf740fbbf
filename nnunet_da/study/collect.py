"""What the arms scored, brought into the folder that the report shows: means over runs, statistics, cost, notes."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.datasets import write_json
from nnunet_da.errors import CheckFailed, UserError
from nnunet_da.evaluation.compare import CompareSettings, compare
from nnunet_da.evaluation.comparison_files import write_comparison
from nnunet_da.evaluation.metric_files import read_metrics
from nnunet_da.evaluation.paired import read_methods
from nnunet_da.evaluation.results import COLUMNS, MANIFEST_FILE, METRICS_FILE, versions
from nnunet_da.outputs import relative, write_whole
from nnunet_da.study.arms import Arm
from nnunet_da.study.conditions import check_conditions
from nnunet_da.study.cost import cost_table
from nnunet_da.study.declaration import declaration_of
from nnunet_da.study.file import RESERVED
from nnunet_da.study.layout import SETTINGS_FILE, Layout, Run
from nnunet_da.study.records import failures, read_record
from nnunet_da.study.statistics.analysis import analyse
from nnunet_da.study.statistics.files import RESULTS, write_answer
from nnunet_da.study.statistics.text import answer_text
from nnunet_da.study.study import Study

COST_FILE, NOTES_FILE, COMPARISON = "study_cost.csv", "study_notes.json", "comparison"
UNIT = ["case", "domain", "label", "metric", "unit"]


@dataclass(frozen=True)
class Scored:
    """The runs of an arm that went through to their scores."""

    arm: Arm
    runs: list[Run]


def collect_results(study: Study, layout: Layout) -> None:
    """Write everything that the report needs into `results`; arms that failed are named and left out, as are runs that lack a case.

    Raises:
        CheckFailed: no arm was scored.
    """
    layout.results.mkdir(exist_ok=True)
    for name in (*RESULTS, COST_FILE, NOTES_FILE):  # of an earlier collection
        (layout.results / name).unlink(missing_ok=True)
    every = {arm.name: _tables(arm, study, layout) for arm in study.arms}
    lacking = dict(_incomplete(every))
    tables = {arm: {run: table for run, table in runs.items() if (arm, run) not in lacking} for arm, runs in every.items()}
    scored = [Scored(arm, list(tables[arm.name])) for arm in study.arms if tables[arm.name]]
    shown = sorted(scored, key=lambda one: one.arm.name != study.baseline)
    if not shown:
        raise CheckFailed(f"no arm was scored: the logs are in {layout.folder / 'logs'}")
    for one in shown:
        _write_arm(one, tables[one.arm.name], study, layout)
    _remove_others(layout.results, {one.arm.name for one in shown})
    _write_settings(shown, study, layout)
    _write_comparison(shown, layout)
    cost_table(study, layout).to_csv(layout.results / COST_FILE, index=False)
    notes = _notes(shown, study, layout)
    notes["notes"] += [f"{arm}, {run.name}, was left out: it lacks {words}." for (arm, run), words in lacking.items()]
    try:
        _write_answer(tables, study, layout)
    except UserError as error:
        notes["notes"].append(f"The statistics could not be computed: {error}")
        raise
    finally:
        write_json(notes, layout.results / NOTES_FILE)


def _is_scored(arm: Arm, run: Run, layout: Layout) -> bool:
    record = read_record(layout.record(f"evaluate/{arm.name}.{run.name}"))
    return record is not None and record.status == "done"


def _incomplete(tables: dict[str, dict[Run, pd.DataFrame]]) -> Iterator[tuple[tuple[str, Run], str]]:
    """(arm, run) that lacks a value which another run has, and the first that it lacks."""
    place = ["domain", "case", "label", "metric"]
    keys = {(arm, run): set(table[place].itertuples(index=False, name=None)) for arm, runs in tables.items() for run, table in runs.items()}
    everything = set().union(*keys.values())
    for one, own in keys.items():
        if own != everything:
            domain, case, label, metric = min(everything - own)
            yield one, f"{metric} of {case} in {domain} (label {label}) and {len(everything - own) - 1} further values"


def _tables(arm: Arm, study: Study, layout: Layout) -> dict[Run, pd.DataFrame]:
    """Run -> all its scores, over every test set, for those that went through."""
    return {
        run: pd.concat([read_metrics(layout.evaluation(arm.name, run, test.dataset) / METRICS_FILE) for test in study.tests])
        for run in study.runs
        if _is_scored(arm, run, layout)
    }


def mean_over_runs(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One value per case: the mean over runs, undefined where any run's is, as `compare` has it."""
    together = pd.concat(list(tables), ignore_index=True)
    means = together.groupby(UNIT, sort=False)["value"].agg(lambda values: values.mean(skipna=False))
    return means.reset_index()[list(COLUMNS)]


def _write_arm(one: Scored, tables: dict[Run, pd.DataFrame], study: Study, layout: Layout) -> None:
    """Mean scores, and the first run's pictures and curves."""
    means, first = mean_over_runs(tables.values()), one.runs[0]
    for test in study.tests:
        folder, original = layout.results / one.arm.name / test.dataset, layout.evaluation(one.arm.name, first, test.dataset)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / METRICS_FILE, means[means["domain"] == test.dataset].to_csv(index=False, lineterminator="\n"))
        write_whole(folder / MANIFEST_FILE, json.dumps(_moved_manifest(original, folder), indent=2) + "\n")
    curves = study.trained(study.trained_arm(one.arm), first, layout) / "curves.csv"
    if curves.is_file():
        shutil.copyfile(curves, layout.results / one.arm.name / "curves.csv")


def _moved_manifest(original: Path, folder: Path) -> dict[str, object]:
    """An evaluation's manifest with its relative paths as seen from another folder."""
    content = json.loads((original / MANIFEST_FILE).read_text(encoding="utf-8"))
    for case in content["cases"]:
        for name in ("image", "reference", "prediction"):
            if case.get(name):
                case[name] = relative(original / case[name], folder)
    return content


def _remove_others(results: Path, names: set[str]) -> None:
    """Arms of an earlier collection that have no scores now must not stand in the report."""
    for folder in results.iterdir():
        if folder.is_dir() and folder.name not in {*names, *RESERVED}:
            shutil.rmtree(folder)
    shutil.rmtree(results / COMPARISON, ignore_errors=True)


def _write_settings(shown: list[Scored], study: Study, layout: Layout) -> None:
    roles = {study.source: "source", **dict.fromkeys(study.targets, "target")}
    settings = {
        "title": study.file.title,
        "note": study.file.note,
        "commands": [f"nnunet-da study {study.file.name}.yaml"],
        "versions": versions(),
        "arms": {one.arm.name: one.arm.title for one in shown},
        "roles": {test.dataset: roles[test.dataset] for test in study.tests if test.dataset in roles},
        "trainers": {one.arm.name: study.model(study.trained_arm(one.arm), one.runs[0], layout).name for one in shown},
    }
    write_json(settings, layout.results / SETTINGS_FILE)


def _write_comparison(shown: list[Scored], layout: Layout) -> None:
    """Paired tests of every arm against the baseline, as a user would ask for them."""
    if len(shown) < 2:
        return
    arguments = [f"{one.arm.name}=" + ",".join(str(layout.evaluation(one.arm.name, run)) for run in one.runs) for one in shown]
    comparison = compare(read_methods(arguments), CompareSettings(against_first=True, common_cases=True))
    command = f"nnunet-da compare {' '.join(one.arm.name for one in shown)} --against-first"
    write_comparison(comparison, layout.results / COMPARISON, command=command, overwrite=True)


def _write_answer(tables: dict[str, dict[Run, pd.DataFrame]], study: Study, layout: Layout) -> None:
    """Statistics of trained models, as declared before the study ran."""
    declaration = declaration_of(study)
    values = pd.concat([table.assign(arm=arm, seed=run.seed, fold=run.fold) for arm, runs in tables.items() for run, table in runs.items()])
    asked = values[values["domain"].isin([declaration.source, *declaration.targets])]
    answer = analyse(asked, declaration)
    write_answer(answer, layout.results, overwrite=True)
    print(answer_text(answer))


def _notes(shown: list[Scored], study: Study, layout: Layout) -> dict[str, Any]:
    notes = [*check_conditions(study, layout, [(one.arm, one.runs) for one in shown])]
    notes += [f"The arm '{arm}' was left out: {words}." for arm, words in study.left_out.items()]
    for one in shown:
        if len(one.runs) < len(study.runs):
            missing = ", ".join(run.name for run in study.runs if run not in one.runs)
            notes.append(f"{one.arm.title}: {len(one.runs)} of {len(study.runs)} runs were scored, missing {missing}.")
    return {
        "title": study.file.title,
        "transductive": {test.dataset: study.transductive(test) for test in study.tests if test.dataset in study.targets},
        "failed": failures(layout),
        "notes": notes,
    }
