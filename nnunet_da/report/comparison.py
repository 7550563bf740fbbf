"""Statistics in a report: what `nnunet-da compare` wrote anywhere below the study."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.report.files import read_json_if_there, read_table
from nnunet_da.report.outdated import difference_from, runs_of

COMPARISON_FILE, ANOVA_FILE, MANIFEST_FILE = "comparison.csv", "anova.csv", "comparison.json"
PLACE = ("first", "second", "domain", "label", "metric")
TEXT = (*PLACE, "unit", "better", "note")
NUMBERS = (
    "n", "n_undefined", "n_seeds", "mean_first", "mean_second", "difference", "sd_difference", "ci_low", "ci_high", "t", "df", "p_t",
    "wilcoxon", "p_wilcoxon", "p_holm", "family", "p_wilcoxon_holm", "cohen_dz", "wins", "ties", "losses",
)  # fmt: skip
SEED_INTERVAL = ("ci_low_seeds", "ci_high_seeds")
ANOVA_TEXT = ("domain", "label", "metric", "methods", "note")
ANOVA_NUMBERS = ("n", "f_repeated", "df1", "df2", "p_repeated", "p_greenhouse_geisser", "f_plain", "p_plain")


@dataclass(frozen=True)
class Comparison:
    """All pairs that were compared.

    Attributes:
        table: comparison.csv, methods by the names the report shows; see `compare` for its columns.
        anova: anova.csv, empty with fewer than three methods.
        warnings: what `compare` warned of, each once.
        commands: how it was called.
        versions: of what computed it.
        alpha: level below which a Holm-adjusted p counts.
    """

    table: pd.DataFrame
    anova: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    alpha: float = 0.05

    @property
    def baseline(self) -> str:
        """The method that all others are held against: the first."""
        return str(self.table["first"].iloc[0])

    @property
    def others(self) -> list[str]:
        """The methods held against the baseline, in order."""
        return list(dict.fromkeys(self.table.loc[self.table["first"] == self.baseline, "second"]))

    def row(self, first: str, second: str, domain: str, label: str, metric: str) -> pd.Series | None:
        """One comparison, None where it was not made."""
        place = dict(zip(PLACE, (first, second, domain, label, metric), strict=True))
        found = self.table[(self.table[list(place)] == pd.Series(place)).all(axis=1)]
        return None if found.empty else found.iloc[0]


def read_comparison(folder: Path, names: Mapping[str, str], arms: Mapping[str, pd.DataFrame]) -> tuple[Comparison | None, list[str]]:
    """Every comparison below a study that belongs to its metrics, joined, and a sentence for each that does not; None where none does.

    Args:
        names: method as `compare` may name it -> arm as the report shows it; a method that is no arm keeps its name.
        arms: arm -> its metrics.csv.

    Raises:
        UserError: a file is not what `compare` writes, or two of them compare the same.
    """
    current, outdated = [], []
    for path in sorted(file.parent for file in folder.rglob(COMPARISON_FILE)):
        table, manifest = _read_rows(path / COMPARISON_FILE), _read_manifest(path / MANIFEST_FILE)
        for column in ("first", "second"):
            table[column] = [names.get(method, method) for method in table[column]]
        changed = difference_from(table, runs_of(manifest, path / MANIFEST_FILE, folder, arms, names))
        if changed:
            file = (path / COMPARISON_FILE).relative_to(folder).as_posix()
            outdated.append(
                f"the comparison in {file} does not belong to these metrics and is left out: {changed}. Compare again, with --overwrite"
            )
        else:
            current.append((path, table, manifest))
    return (_joined(folder, current, names) if current else None), outdated


def _joined(folder: Path, current: list[tuple[Path, pd.DataFrame, dict[str, Any]]], names: Mapping[str, str]) -> Comparison:
    folders, tables, manifests = zip(*current, strict=True)
    table = pd.concat(tables, ignore_index=True)
    repeated = table[table.duplicated(list(PLACE))]
    if len(repeated):
        row = repeated.iloc[0]
        raise UserError(
            f"one comparison of {row['first']} and {row['second']} was expected below {folder}, got two for {row['metric']} in "
            f"{row['domain']}: remove the {COMPARISON_FILE} that is out of date."
        )
    anova_files = [path / ANOVA_FILE for path in folders if (path / ANOVA_FILE).is_file()]
    anovas = [read_table(file, ANOVA_TEXT, ANOVA_NUMBERS, "nnunet-da compare") for file in anova_files]
    anova = pd.concat(anovas, ignore_index=True) if anovas else pd.DataFrame(columns=[*ANOVA_TEXT, *ANOVA_NUMBERS])
    anova["methods"] = [" | ".join(names.get(method, method) for method in methods.split(" | ")) for methods in anova["methods"]]
    return Comparison(
        table,
        anova,
        list(dict.fromkeys(str(warning) for manifest in manifests for warning in manifest.get("warnings", []))),
        commands_of(manifests),
        {str(name): str(version) for manifest in manifests for name, version in manifest.get("versions", {}).items()},
        float(manifests[0].get("alpha", 0.05)),
    )


def commands_of(manifests: Iterable[dict[str, Any]]) -> list[str]:
    """`command` (text or its parts) or `commands` (a list of those) of manifests, each once."""
    found = []
    for manifest in manifests:
        entries = manifest.get("commands", manifest.get("command", []))
        whole = isinstance(entries, str) or "command" in manifest
        found += [entries] if whole and entries else list(entries)
    return list(dict.fromkeys(entry if isinstance(entry, str) else shlex.join(map(str, entry)) for entry in found))


def _read_rows(file: Path) -> pd.DataFrame:
    table = read_table(file, TEXT, NUMBERS, "nnunet-da compare", SEED_INTERVAL)
    wrong = sorted(set(table["better"]) - {"first", "second", ""})
    if table.empty or wrong:
        got = f"'better' = {wrong[0]!r}" if wrong else "no row"
        raise UserError(f"{file} must hold comparisons with 'better' = first, second or nothing, got {got}: compare again.")
    return table


def _read_manifest(file: Path) -> dict[str, Any]:
    manifest = read_json_if_there(file)
    kinds = {"warnings": list, "versions": dict, "alpha": float, "methods": list, "left_out": list}
    for name, kind in kinds.items():
        if name in manifest and not isinstance(manifest[name], kind):
            raise UserError(f"{file} must be what nnunet-da compare writes, got {name} = {manifest[name]!r}: compare again.")
    return manifest
