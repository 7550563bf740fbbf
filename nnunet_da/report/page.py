"""The report's HTML page: what it says, filled into the template."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from nnunet_da.report.answer_cards import cards
from nnunet_da.report.cells import MARKS, Cell, Row, Table
from nnunet_da.report.pictures import Picture
from nnunet_da.report.sections import HEADLINE_METRICS, with_role
from nnunet_da.report.study import Study
from nnunet_da.report.tables import number
from nnunet_da.report.verdict import Verdict, how_to_compare, verdicts
from nnunet_da.report.worst import CasePictures

TEMPLATE = "page.html.j2"
DEMONSTRATION = "This is a demonstration. It shows that every step runs; its numbers make no claim about domain adaptation."
NOT_STATED = "a field of view that no evaluation.json states"
MOST_ROWS = 400  # of the table of all cases; a page of thousands opens slowly and metrics.csv has them all


@dataclass(frozen=True)
class Group:
    """Pictures under one heading."""

    title: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Drawn:
    """Everything drawn.

    Attributes:
        forest: differences of a study's arms to its baseline.
        metrics: one group per label and metric.
        pairs: scatter plots, one group per label.
        agreement: Bland-Altman plots of the volume, one group per label.
        worst: arm -> its worst cases.
        features: agreement of radiomic features.
        endpoints: Bland-Altman plots of endpoints.
        curves: one picture per logged term.
        left_out: names of labels that have tables and no plots.
    """

    forest: list[Picture] = field(default_factory=list)
    metrics: list[Group] = field(default_factory=list)
    pairs: list[Group] = field(default_factory=list)
    agreement: list[Group] = field(default_factory=list)
    worst: dict[str, CasePictures] = field(default_factory=dict)
    features: list[Picture] = field(default_factory=list)
    endpoints: list[Picture] = field(default_factory=list)
    curves: list[Picture] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> Iterator[Picture]:
        yield from self.forest
        for group in [*self.metrics, *self.pairs, *self.agreement]:
            yield from group.pictures
        for cases in self.worst.values():
            for case in cases.cases:
                yield from case.pictures
        yield from [*self.features, *self.endpoints, *self.curves]


@dataclass(frozen=True)
class Tables:
    """Every table of the page.

    Attributes:
        headline: of the summary.
        metrics: per domain and label.
        differences: per pair of methods.
        anova: None with fewer than three methods.
        radiomics: per arm, features and endpoints.
        paper: published values with ours.
        plans: how the arms were made, None where nothing tells.
        answer: of a study's answer.
        cost: of a study's jobs, None where nothing tells.
    """

    headline: Table
    metrics: list[Table]
    differences: list[Table]
    anova: Table | None
    radiomics: list[Table]
    paper: list[Table]
    plans: Table | None
    answer: list[Table] = field(default_factory=list)
    cost: Table | None = None

    @property
    def exported(self) -> list[Table]:
        """Those that are written as CSV, Markdown and LaTeX; the metrics are, in one, as the summary."""
        single = [table for table in (self.anova, self.plans, self.cost) if table is not None]
        return [*self.answer, *self.differences, *self.radiomics, *self.paper, *single]


def render_page(study: Study, summary: pd.DataFrame, tables: Tables, drawn: Drawn, paper: dict[str, Any] | None) -> str:
    """The whole page as one HTML text; every value from outside is escaped.

    Args:
        summary: see `summary_table`.
        paper: title, reference and general remark of the paper whose tables are shown; None for none.
    """
    environment = Environment(
        loader=PackageLoader("nnunet_da.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    radiomics = [arm.radiomics for arm in study.arms if arm.radiomics is not None]
    return environment.get_template(TEMPLATE).render(
        settings=study.settings,
        demonstration_notice=DEMONSTRATION,
        marks=MARKS,
        baseline=study.baseline,
        answer=study.answer,
        cards=cards(study.answer) if study.answer else [],
        answer_warnings=list(map(as_sentence, study.answer.warnings)) if study.answer else [],
        notes=study.notes,
        opening=_opening(study),
        results=_results(study, summary),
        caveats=_caveats(study),
        questions=_by_method(verdicts(study)),
        how_to_compare=how_to_compare(study),
        comparison=study.comparison,
        against_baseline=len(study.comparison.others) if study.comparison else 0,
        tables=tables,
        drawn=drawn,
        paper=paper,
        paper_has_ours=any(row.own for table in tables.paper for _, row in table.rows),
        radiomics_warnings=list(dict.fromkeys(as_sentence(warning) for record in radiomics for warning in record.warnings)),
        diagnoses=[record for arm in study.arms for record in arm.diagnoses],
        fields_of_view=_fields_of_view(study),
        mixed_fields_of_view=_mixed_fields_of_view(study),
        undefined=_undefined(study),
        failed=[(arm.name, *entry) for arm in study.arms for entry in arm.failed],
        cases=case_table(study),
        case_rows=sum(len(arm.metrics.groupby(["domain", "case", "label"])) for arm in study.arms),
        commands=_commands(study),
        versions=_versions(study),
    )


def case_table(study: Study) -> Table:
    """One row per arm, domain, case and label with the headline metrics, worst Dice first, cut at `MOST_ROWS`."""
    parts = []
    for arm in study.arms:
        wide = arm.metrics.pivot(index=["domain", "case", "label"], columns="metric", values="value").reset_index()
        parts.append(wide.reindex(columns=["domain", "case", "label", *HEADLINE_METRICS]).assign(arm=arm.name))
    worst = pd.concat(parts).sort_values("dice", kind="stable", na_position="last").head(MOST_ROWS)
    rows = [
        Row(
            Cell(str(row["case"])),
            [
                *(Cell(text) for text in (row["domain"], study.labels[row["label"]], row["arm"])),
                *(Cell(number(row[metric], "fraction" if metric == "dice" else "mm")) for metric in HEADLINE_METRICS),
            ],
        )
        for row in worst.to_dict("records")
    ]
    return Table("cases", "Cases, worst Dice first", ["Case", "Domain", "Label", "Method", *HEADLINE_METRICS.values()], [("", rows)], 3)


def _opening(study: Study) -> str:
    arms, domains = [arm.name for arm in study.arms], [with_role(study, domain) for domain in study.domains]
    text = f"{_count(len(arms), 'method')} ({', '.join(arms)}), scored on {_count(len(domains), 'domain')}: {', '.join(domains)}."
    return text[0].upper() + text[1:]


def _results(study: Study, summary: pd.DataFrame) -> list[str]:
    """Mean Dice in words, for few labels."""
    if len(study.labels) > 3:
        return []
    words = {
        domain: "; ".join(filter(None, (_result_words(summary, domain, label, name) for label, name in study.labels.items())))
        for domain in study.domains
    }
    return [f"{with_role(study, domain)}: {text}." for domain, text in words.items() if text]


def _result_words(summary: pd.DataFrame, domain: str, label: str, name: str) -> str:
    rows = summary[(summary["domain"] == domain) & (summary["label"] == label) & (summary["metric"] == "dice")]
    if rows.empty:
        return ""
    means = ", ".join(f"{row['arm']} {number(row['mean'], 'fraction')} (n = {row['n']})" for _, row in rows.iterrows())
    return f"mean Dice of {name}: {means}"


def _caveats(study: Study) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    if averaged := [f"{arm.name} ({arm.runs})" for arm in study.arms if arm.runs > 1]:
        found.append(
            f"Values from here on are means over an arm's trained models, case by case: {', '.join(averaged)}. Pictures show the first one."
        )
    if undefined := len(_undefined(study)):
        found.append(
            f"Where one of two masks is empty no distance is defined: {_count(undefined, 'such pair')}, left out of the means, see Gaps."
        )
    if missing := sum(len(arm.failed) for arm in study.arms):
        found.append(f"Not scored and therefore in no mean: {_count(missing, 'case')}, see Gaps.")
    if len(study.arms) > 1 and not any(study.role(domain) for domain in study.domains):
        found.append('Which domain is source and which is target is not recorded: report.json can say it, {"roles": {"DOMAIN": "target"}}.')
    return [*map(as_sentence, study.outdated), *found, *map(as_sentence, study.comparison.warnings if study.comparison else [])]


def as_sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _by_method(found: list[Verdict]) -> list[tuple[str, list[Verdict]]]:
    methods = dict.fromkeys(verdict.method for verdict in found)
    return [(method, [verdict for verdict in found if verdict.method == method]) for method in methods]


def _fields_of_view(study: Study) -> list[str]:
    """What specificity counts, each field of view once, with the methods and domains where there are several; empty without specificity."""
    if "specificity" not in study.metric_names:
        return []
    places: dict[str, list[str]] = {}
    for arm in study.arms:
        for domain in arm.metrics.loc[arm.metrics["metric"] == "specificity", "domain"].unique():
            places.setdefault(arm.fields_of_view.get(domain, NOT_STATED), []).append(f"{arm.name} in {domain}")
    return [words if len(places) == 1 else f"{words} ({', '.join(where)})" for words, where in places.items()]


def _mixed_fields_of_view(study: Study) -> list[str]:
    """The domains in which methods differ in the field of view of specificity."""
    stated = {domain: {arm.fields_of_view[domain] for arm in study.arms if domain in arm.fields_of_view} for domain in study.domains}
    return [domain for domain, views in stated.items() if len(views) > 1] if "specificity" in study.metric_names else []


def _undefined(study: Study) -> list[tuple[str, str, str, str]]:
    """(arm, domain, case, label name) where HD95 is undefined."""
    return [
        (arm.name, row.domain, row.case, study.labels[row.label])
        for arm in study.arms
        for row in arm.metrics[(arm.metrics["metric"] == "hd95_mm") & arm.metrics["value"].isna()].itertuples()
    ]


def _commands(study: Study) -> list[str]:
    found = [*study.settings.commands, *(command for arm in study.arms for command in arm.commands)]
    found += study.comparison.commands if study.comparison else []
    return list(dict.fromkeys([*found, *(command for arm in study.arms if arm.radiomics for command in arm.radiomics.commands)]))


def _versions(study: Study) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    records = [arm.versions for arm in study.arms] + ([study.answer.versions] if study.answer else [])
    records += [arm.radiomics.versions for arm in study.arms if arm.radiomics]
    for record in [study.settings.versions, *records, *([study.comparison.versions] if study.comparison else [])]:
        for name, version in record.items():
            found.setdefault(name, []).append(version)
    return {name: ", ".join(dict.fromkeys(versions)) for name, versions in found.items()}


def _count(number_of: int, noun: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    shown = words[number_of] if number_of < len(words) else str(number_of)
    return f"{shown} {noun}{'' if number_of == 1 else 's'}"
