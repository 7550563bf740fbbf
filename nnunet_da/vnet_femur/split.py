"""Hold-out and folds stratified by sex, for the whole cohort and for each sex apart, as nnU-Net's own `splits_final.json`."""

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.conversion.tables import read_table
from nnunet_da.datasets import RawDataset, find_dataset, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.outputs import write_whole

SPLITS, RECORD = "splits_final.json", "vnet_femur_split.json"
WHOLE = "all"
LAYOUT = 1  # of the record
CAUTION = (
    "the hold-out stands among the training scans, so nnU-Net's fingerprint (median spacing, intensity statistics) has seen its scans and"
    " where its foreground lies; no network has"
)


@dataclass(frozen=True)
class SplitRequest:
    """What the user asks for.

    Attributes:
        dataset: id or name of the labelled dataset.
        table: CSV with one row per case.
        sex_column: its column that the split is stratified by; every value is a cohort of its own.
        case_column: its column with the case names.
        hold_out: share of the cases that no fold sees, rounded up.
        folds: of the cross-validation.
        seed: of the draw.
        overwrite: replace splits that are there.
    """

    dataset: str
    table: Path
    sex_column: str = "sex"
    case_column: str = "case"
    hold_out: float = 0.1
    folds: int = 10
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.hold_out < 1:
            raise UserError(f"the hold-out must be a share between 0 and 1, got {self.hold_out}: correct --hold-out")
        if self.folds < 2:
            raise UserError(f"a cross-validation needs 2 folds or more, got {self.folds}: correct --folds")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"the seed must be between 0 and 4294967295, got {self.seed}: correct --seed")


def split(request: SplitRequest, command: str = "") -> tuple[Path, dict[str, Any]]:
    """Write `splits_final.json` and the record of the hold-out into the dataset's preprocessed folder.

    nnU-Net has one list of folds per dataset and takes any number of them: the first `folds` are those of the whole cohort, the next
    those of each sex in the order of their names. Fold k of a sex is fold k of the whole cohort without the other sex, so a case is
    held out and validated on at the same places in all of them.

    Returns:
        The splits file and the record.

    Raises:
        UserError: any unfit input, or splits that are there; nothing is written then.
    """
    dataset = find_dataset(request.dataset)
    sexes = _sex_of_cases(dataset, request)
    folder = paths.nnunet_preprocessed() / dataset.name
    existing = [name for name in (SPLITS, RECORD) if (folder / name).exists()]
    if existing and not request.overwrite:
        raise UserError(
            f"{folder} must hold no splits yet, it holds {' and '.join(existing)}: models may be trained on them;"
            " add --overwrite to replace them"
        )
    held_out, folds = stratified(sexes, request.hold_out, request.folds, request.seed)
    record = _record(dataset, sexes, held_out, request, command)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    write_whole(folder / SPLITS, json.dumps(_splits_of_cohorts(folds, sexes, record), indent=4) + "\n")
    write_json(record, folder / RECORD)  # last: where it stands, the folds are its own
    return folder / SPLITS, record


def stratified(sexes: dict[str, str], hold_out: float, folds: int, seed: int) -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    """The hold-out, and (train, validation) of each fold of the rest, both with the cohort's shares of each sex.

    Raises:
        UserError: a sex with too few cases for the hold-out and every fold.
    """
    from sklearn.model_selection import StratifiedKFold, train_test_split

    cases = sorted(sexes)
    _check_enough(sexes, hold_out, folds)
    rest, held_out = train_test_split(cases, test_size=hold_out, stratify=[sexes[case] for case in cases], random_state=seed)
    rest = sorted(rest)
    left, held = Counter(sexes[case] for case in rest), Counter(sexes[case] for case in held_out)
    for sex in sorted(set(sexes.values())):
        if left[sex] < folds or not held[sex]:
            raise UserError(_too_few(sex, left[sex], held[sex], folds))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(rest, [sexes[case] for case in rest])
    return sorted(held_out), [([rest[i] for i in train], [rest[i] for i in validation]) for train, validation in parts]


def read_record(dataset: RawDataset) -> dict[str, Any]:
    """The record of a dataset's split.

    Raises:
        UserError: there is none, it is not one, or the folds that stand beside it train on its hold-out.
    """
    file = paths.nnunet_preprocessed() / dataset.name / RECORD
    record = read_json(file, f"{dataset.name} needs a hold-out, made by `nnunet-da vnet-femur split -d {dataset.dataset_id} --table CSV`")
    if record.get("layout") != LAYOUT or not isinstance(record.get("cohorts"), dict):
        raise UserError(f"{file} must be a record of `nnunet-da vnet-femur split`, it is not: split again with --overwrite")
    splits = file.with_name(SPLITS)
    held_out = {case for cohort in record["cohorts"].values() for case in cohort["hold_out"]}
    if held_out & _cases_of_folds(splits) or not splits.is_file():
        raise UserError(f"{splits} must hold the folds of {RECORD}, without its hold-out, it does not: split again with --overwrite")
    return record


def _cases_of_folds(splits: Path) -> set[str]:
    try:
        return {case for fold in json.loads(splits.read_text(encoding="utf-8")) for case in (*fold["train"], *fold["val"])}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{splits} must be nnU-Net's list of folds, it is not ({error}): split again with --overwrite") from error


def cohort_of(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Folds and hold-out of a cohort. Raises UserError where there is no such cohort."""
    if name not in record["cohorts"]:
        raise UserError(f"the cohort must be one of {', '.join(record['cohorts'])}, got '{name}': correct it")
    return record["cohorts"][name]


def _sex_of_cases(dataset: RawDataset, request: SplitRequest) -> dict[str, str]:
    """Training case -> sex; rows of other cases, such as test cases, are passed over."""
    table = read_table(request.table, "the table of cases", [request.case_column, request.sex_column])
    cases = dataset.training_labels()
    sexes: dict[str, str] = {}
    for row in table.rows:
        case, sex = row[request.case_column], row[request.sex_column]
        if sexes.setdefault(case, sex) != sex:
            raise UserError(f"{request.table} must give one sex per case, it gives {sexes[case]} and {sex} for '{case}': correct it")
    missing = sorted(case for case in cases if case not in sexes)
    if missing:
        raise UserError(
            f"{request.table} must have a row for every training case of {dataset.name}, '{missing[0]}' has none ({len(missing)} in all):"
            " add it, or name the column of cases with --case-column"
        )
    found = {case: sexes[case] for case in cases}
    if len(set(found.values())) < 2:
        raise UserError(
            f"the column '{request.sex_column}' must hold two sexes among the training cases, got {', '.join(set(found.values()))} alone:"
            " name the right column with --sex-column"
        )
    if WHOLE in found.values():
        raise UserError(f"'{WHOLE}' stands for the whole cohort and cannot be a value of '{request.sex_column}': rename it in the table")
    return found


def _check_enough(sexes: dict[str, str], hold_out: float, folds: int) -> None:
    """Before scikit-learn says so in its own words."""
    counts = Counter(sexes.values())
    held = math.ceil(hold_out * len(sexes))
    for sex, count in sorted(counts.items()):
        if count < folds + 1 or held < len(counts) or len(sexes) - held < len(counts):
            raise UserError(_too_few(sex, max(count - round(hold_out * count), 0), round(hold_out * count), folds))


def _too_few(sex: str, left: int, held: int, folds: int) -> str:
    return (
        f"every sex needs a case in the hold-out and in each of {folds} folds, '{sex}' has about {held} for the hold-out and {left} for"
        " the folds: lower --folds, change --hold-out, or add cases"
    )


def _record(dataset: RawDataset, sexes: dict[str, str], held_out: list[str], request: SplitRequest, command: str) -> dict[str, Any]:
    cohorts = {}
    for index, cohort in enumerate([WHOLE, *sorted(set(sexes.values()))]):
        members = [case for case in sexes if cohort in (WHOLE, sexes[case])]
        cohorts[cohort] = {
            "folds": list(range(index * request.folds, (index + 1) * request.folds)),
            "cases": len(members),
            "hold_out": [case for case in held_out if case in members],
        }
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items() if name != "overwrite"}
    return {"layout": LAYOUT, "command": command, **asked, "dataset": dataset.name, "cautions": [CAUTION], "cohorts": cohorts, "sex": sexes}


def _splits_of_cohorts(
    folds: list[tuple[list[str], list[str]]], sexes: dict[str, str], record: dict[str, Any]
) -> list[dict[str, list[str]]]:
    return [
        {kind: [case for case in cases if cohort in (WHOLE, sexes[case])] for kind, cases in zip(("train", "val"), fold, strict=True)}
        for cohort in record["cohorts"]
        for fold in folds
    ]
