"""Compare methods case by case: every pair of methods, domain, label and metric."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.anova import anova
from nnunet_da.evaluation.cautions import cautions
from nnunet_da.evaluation.paired import Method, Pairs, pair
from nnunet_da.evaluation.seeds import average_seeds, two_level_interval
from nnunet_da.evaluation.statistics import UNDEFINED, direction, holm, paired_tests, wins_ties_losses

PRIMARY = ("dice", "hd95_mm", "asd_mm", "precision", "recall", "hd_mm")  # the six of the PF-DAformer paper
TABLE_COLUMNS = (
    *("first", "second", "domain", "label", "metric", "unit", "n", "n_undefined", "n_seeds", "mean_first", "mean_second", "difference"),
    *(
        "sd_difference",
        "ci_low",
        "ci_high",
        "t",
        "df",
        "p_t",
        "wilcoxon",
        "p_wilcoxon",
        "p_holm",
        "p_wilcoxon_holm",
        "family",
        "family_wilcoxon",
    ),
    *("cohen_dz", "wins", "ties", "losses", "better", "n_undefined_first", "n_undefined_second", "n_seeds_first", "n_seeds_second"),
    *("ci_low_seeds", "ci_high_seeds", "note"),
)
ANOVA_COLUMNS = (
    *("domain", "label", "metric", "n", "n_undefined", "methods", "f_repeated", "df1", "df2", "p_repeated", "epsilon"),
    *("p_greenhouse_geisser", "f_plain", "p_plain", "note"),
)


@dataclass(frozen=True)
class CompareSettings:
    """How to compare.

    Attributes:
        metrics: names; empty: the primary six and every nsd_*, where present.
        against_first: compare every other method with the first alone, instead of all pairs.
        common_cases: compare what all have in common instead of refusing unpaired input.
        alpha: level below which a corrected p value marks the better method.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    metrics: tuple[str, ...] = ()
    against_first: bool = False
    common_cases: bool = False
    alpha: float = 0.05
    resamples: int = 9999
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha must lie between 0 and 1, got {self.alpha}: 0.05 is usual.")
        if self.resamples < 100 or self.seed < 0:
            raise UserError(f"100 or more resamples and a seed of 0 or more were expected, got {self.resamples} and {self.seed}.")


@dataclass(frozen=True)
class Comparison:
    """Everything `compare` found out.

    Attributes:
        table: one row per (first, second, domain, label, metric); the columns of comparison.csv.
        anova: one row per (domain, label, metric), of three or more methods; the columns of anova.csv.
        seeds: mean of every seed, one row per (method, run, domain, label, metric); empty where every method has one.
        warnings: what a reader has to know before the numbers.
    """

    pairs: Pairs
    settings: CompareSettings
    metrics: tuple[str, ...]
    table: pd.DataFrame
    anova: pd.DataFrame
    seeds: pd.DataFrame
    warnings: tuple[str, ...]

    @property
    def labels(self) -> dict[str, str]:
        """Label key -> name."""
        return {key: name for method in self.pairs.methods for run in method.runs for key, name in run.labels.items()}


def compare(methods: Sequence[Method], settings: CompareSettings | None = None) -> Comparison:
    """Paired statistics between methods; see docs/compare.md for what each number means.

    Args:
        methods: two or more, as `read_methods` gives them.

    Raises:
        UserError: unpaired cases, or a metric that some method does not have.
    """
    settings = settings or CompareSettings()
    pairs = pair(methods, common_cases=settings.common_cases)
    metrics = _choose_metrics(methods, settings.metrics)
    table = _corrected(pd.DataFrame(list(_paired_rows(pairs, metrics, settings))), settings.alpha)
    anova_table = pd.DataFrame(list(_anova_rows(pairs, metrics)), columns=list(ANOVA_COLUMNS)) if len(methods) > 2 else pd.DataFrame()
    seeds = pd.DataFrame(list(_seed_rows(pairs, metrics))) if any(len(method.runs) > 1 for method in methods) else pd.DataFrame()
    return Comparison(
        pairs,
        settings,
        metrics,
        table,
        anova_table,
        seeds,
        (*cautions(pairs, table, settings.alpha), *_skipped(methods, metrics, settings)),
    )


def _choose_metrics(methods: Sequence[Method], asked: tuple[str, ...]) -> tuple[str, ...]:
    runs = [(method.name, run) for method in methods for run in method.runs]
    known = list(dict.fromkeys(metric for _, run in runs for metric in run.values))
    everywhere = [metric for metric in known if all(metric in run.values for _, run in runs)]
    chosen = [*dict.fromkeys(asked)] or [metric for metric in [*PRIMARY, *sorted(_nsd(known))] if metric in everywhere]
    absent = [metric for metric in chosen if metric not in everywhere]
    if absent or not chosen:
        what = f"{', '.join(absent)} in every method" if absent else f"one of {', '.join(PRIMARY)} in every method"
        raise UserError(f"{what} was expected, but common to all are {', '.join(everywhere) or 'none'}: choose with --metrics.")
    fields = {field for _, run in runs for field in run.fields_of_view}
    if "specificity" in chosen and len(fields) > 1:
        raise UserError(
            f"specificity can be compared within one field of view, got {'; '.join(sorted(fields))}: evaluate all methods with the same"
            " --field-of-view, or choose other metrics with --metrics."
        )
    for name, run in runs:
        partial = [metric for metric in chosen if metric in run.incomplete]
        if partial:
            raise UserError(
                f"a row for every case and label was expected in {run.folder} ({name}), but {', '.join(partial)} lacks some (an undefined "
                "value has a row too): run nnunet-da evaluate again, or choose other metrics with --metrics."
            )
    return tuple(chosen)


def _skipped(methods: Sequence[Method], metrics: Sequence[str], settings: CompareSettings) -> list[str]:
    known = {metric for method in methods for run in method.runs for metric in run.values}
    skipped = [metric for metric in [*PRIMARY, *sorted(_nsd(known))] if metric in known and metric not in metrics]
    return [f"not in every method and not compared: {', '.join(skipped)}"] if skipped and not settings.metrics else []


def _nsd(metrics: Iterable[str]) -> list[str]:
    return [metric for metric in metrics if metric.startswith("nsd_")]


def _paired_rows(pairs: Pairs, metrics: Sequence[str], settings: CompareSettings) -> Iterator[dict]:
    for first, second in itertools.combinations(pairs.methods, 2):
        if settings.against_first and first is not pairs.methods[0]:
            continue
        for domain, label, rows in _groups(pairs):
            for metric in metrics:
                names = {"first": first.name, "second": second.name, "domain": domain, "label": label, "metric": metric}
                unit = first.runs[0].units[metric]
                yield names | {"unit": unit} | _paired_row(first.values(rows, metric), second.values(rows, metric), metric, settings)


def _paired_row(first: np.ndarray, second: np.ndarray, metric: str, settings: CompareSettings) -> dict:
    """One row but for its names and the correction; `first` and `second` are (seeds, cases)."""
    x, y = average_seeds(first), average_seeds(second)
    tests = asdict(paired_tests(x, y, resamples=settings.resamples, seed=settings.seed))
    notes = tests.pop("notes")
    kept = ~(np.isnan(x) | np.isnan(y))
    wins, ties, losses = wins_ties_losses(x[kept], y[kept], metric) or (None, None, None)
    low, high = two_level_interval(first, second, resamples=settings.resamples, seed=settings.seed)
    return tests | {
        "n_seeds": min(len(first), len(second)),
        "n_seeds_first": len(first),
        "n_seeds_second": len(second),
        "ci_low_seeds": low,
        "ci_high_seeds": high,
        "wins": wins,
        "ties": ties,
        "losses": losses,
        "note": "; ".join(notes),
    }


def _corrected(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Adds Holm's correction over the whole table and who is better by it; puts the columns in order."""
    table["p_holm"], table["p_wilcoxon_holm"] = holm(table["p_t"]), holm(table["p_wilcoxon"])
    table["family"], table["family_wilcoxon"] = int(table["p_t"].notna().sum()), int(table["p_wilcoxon"].notna().sum())
    gains = table["difference"] * table["metric"].map(direction)
    significant = table["p_holm"] < alpha
    table["better"] = np.select([significant & (gains > 0), significant & (gains < 0)], ["second", "first"], "")
    for column in ("wins", "ties", "losses"):
        table[column] = table[column].astype("Int64")
    return table[list(TABLE_COLUMNS)]


def _anova_rows(pairs: Pairs, metrics: Sequence[str]) -> Iterator[dict]:
    names = " | ".join(method.name for method in pairs.methods)
    for domain, label, rows in _groups(pairs):
        for metric in metrics:
            values = np.stack([average_seeds(method.values(rows, metric)) for method in pairs.methods], axis=1)
            found = asdict(anova(values))
            note = "; ".join(found.pop("notes"))
            yield {"domain": domain, "label": label, "metric": metric, "methods": names} | found | {"note": note}


def _seed_rows(pairs: Pairs, metrics: Sequence[str]) -> Iterator[dict]:
    for method, (domain, label, rows), metric in itertools.product(pairs.methods, list(_groups(pairs)), metrics):
        for number, values in enumerate(method.values(rows, metric)):
            defined = values[~np.isnan(values)]
            yield {
                "method": method.name,
                "run": number,
                "domain": domain,
                "label": label,
                "metric": metric,
                "unit": method.runs[0].units[metric],
                "n": len(defined),
                "n_undefined": len(values) - len(defined),
                "mean": float(defined.mean()) if len(defined) else UNDEFINED,
            }


def _groups(pairs: Pairs) -> Iterator[tuple[str, str, pd.MultiIndex]]:
    """(domain, label, its rows), in the order of the files."""
    frame = pairs.rows.to_frame(index=False)
    for (domain, label), found in frame.groupby(["domain", "label"], sort=False):
        yield str(domain), str(label), pd.MultiIndex.from_frame(found)
