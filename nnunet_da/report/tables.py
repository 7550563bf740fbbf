"""Tables of a report: summaries of metrics as CSV, Markdown and LaTeX."""

import io
import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from nnunet_da.evaluation.statistics import direction
from nnunet_da.report.study import Study

SHOWN_METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "hd_mm": "HD",
    "hd95_mm": "HD95",
    "asd_mm": "ASD, symmetric",
    "asd_reference_to_prediction_mm": "ASD, reference to prediction",
    "asd_prediction_to_reference_mm": "ASD, prediction to reference",
    "nsd_": "NSD",
    "volume_mm3": "Volume of the prediction",
    "volume_error_mm3": "Volume error, prediction minus reference",
}
# unit in metrics.csv -> unit shown, factor, decimals
SHOWN_UNITS = {"fraction": ("", 1.0, 3), "mm": ("mm", 1.0, 2), "mm3": ("cm³", 1e-3, 2)}
SHOWN_UNITS |= {"HU": ("HU", 1.0, 1), "mg/cm3": ("mg/cm³", 1.0, 1), "mg": ("mg", 1.0, 0)}

TEXT_COLUMNS = frozenset({"Domain", "Label", "Metric", "Method"})


def metric_title(metric: str, unit: str) -> str:
    """A metric as a reader knows it, with its unit."""
    shown_unit = SHOWN_UNITS.get(unit, (unit, 1.0, 3))[0]
    tolerance = re.fullmatch(r"nsd_([\d.]+)mm", metric)
    title = f"NSD at {tolerance[1]} mm" if tolerance else SHOWN_METRICS.get(metric, metric)
    return title + (f" ({shown_unit})" if shown_unit else "")


def best_arms(rows: pd.DataFrame) -> set[str]:
    """The arms with the best mean as shown; none where there is one arm, no better, or the means run over different cases.

    Args:
        rows: rows of `summary_table` of one domain, label and metric.
    """
    metric, unit = rows["metric"].iloc[0], rows["unit"].iloc[0]
    if len(rows) < 2 or not direction(metric) or rows["n"].nunique() > 1 or not np.isfinite(rows["mean"]).all():
        return set()
    _, factor, decimals = SHOWN_UNITS.get(unit, (unit, 1.0, 3))
    gain = (rows["mean"] * factor).round(decimals) * direction(metric)
    return set() if gain.nunique() == 1 else set(rows.loc[gain == gain.max(), "arm"])


def summary_table(study: Study) -> pd.DataFrame:
    """One row per domain, label, metric and arm.

    Columns: domain, label (its key), metric, unit, arm, mean, sd, median (over the defined values; sd with n - 1, NaN for one value),
    n (defined values), undefined (values that are not defined).
    """
    rows = []
    for position, arm in enumerate(study.arms):
        for (domain, label, metric, unit), group in arm.metrics.groupby(["domain", "label", "metric", "unit"], sort=False):
            defined = group["value"].dropna()
            rows.append(
                {
                    "domain": domain,
                    "label": label,
                    "metric": metric,
                    "unit": unit,
                    "arm": arm.name,
                    "mean": defined.mean(),
                    "sd": defined.std(ddof=1),
                    "median": defined.median(),
                    "n": len(defined),
                    "undefined": len(group) - len(defined),
                    "_arm": position,
                }
            )
    table = pd.DataFrame(rows)
    orders = {"domain": study.domains, "label": list(study.labels), "metric": ordered_metrics(study)}
    for column, order in orders.items():
        table[f"_{column}"] = table[column].map({value: index for index, value in enumerate(order)})
    table = table.sort_values(["_domain", "_label", "_metric", "_arm"], kind="stable", ignore_index=True)
    return table.drop(columns=[column for column in table if column.startswith("_")])


def ordered_metrics(study: Study) -> list[str]:
    """The metrics of a study in the order of the report, unknown ones last."""
    known = list(SHOWN_METRICS)
    family = {metric: "nsd_" if metric.startswith("nsd_") else metric for metric in study.metric_names}
    return sorted(study.metric_names, key=lambda metric: known.index(family[metric]) if family[metric] in known else len(known))


def shown_values(values: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Values in the unit the report shows."""
    return values * SHOWN_UNITS.get(unit, (unit, 1.0, 3))[1]


def number(value: float, unit: str, more_decimals: int = 0) -> str:
    """A value in the unit the report shows; an undefined one is an en dash."""
    if not np.isfinite(value):
        return "–"
    _, factor, decimals = SHOWN_UNITS.get(unit, (unit, 1.0, 3))
    return f"{value * factor + 0.0:,.{decimals + more_decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "−")


def mean_sd(row: pd.Series) -> str:
    """Mean ± SD; the mean alone where there is one value."""
    mean = number(row["mean"], row["unit"])
    return mean if not np.isfinite(row["sd"]) else f"{mean} ±\N{NO-BREAK SPACE}{number(row['sd'], row['unit'])}"


def readable(summary: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """The summary as text, for Markdown and LaTeX."""
    return pd.DataFrame(
        {
            "Domain": summary["domain"],
            "Label": summary["label"].map(labels),
            "Metric": [metric_title(metric, unit) for metric, unit in zip(summary["metric"], summary["unit"], strict=True)],
            "Method": summary["arm"],
            "Mean ± SD": [mean_sd(row) for _, row in summary.iterrows()],
            "Median": [number(row["median"], row["unit"]) for _, row in summary.iterrows()],
            "n": summary["n"].astype(str),
            "Undefined": summary["undefined"].astype(str),
        }
    )


def to_markdown(table: pd.DataFrame, text_columns: Collection[str] = TEXT_COLUMNS) -> str:
    """A pipe table; text columns left, numbers right."""
    alignment = ["---" if column in text_columns else "---:" for column in table]
    rows = [list(table), alignment, *([_markdown_cell(cell) for cell in row] for row in table.itertuples(index=False))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def to_latex(table: pd.DataFrame, caption: str, text_columns: Collection[str] = TEXT_COLUMNS) -> str:
    """A longtable with booktabs rules."""
    columns = "".join("l" if column in text_columns else "r" for column in table)
    stream = io.StringIO()
    stream.write("% needs \\usepackage{amssymb,booktabs,longtable}\n")
    stream.write(
        f"\\begin{{longtable}}{{{columns}}}\n\\caption{{{_latex(caption)}}}\\\\\n\\toprule\n{_latex_row(list(table))}\\midrule\n\\endhead\n"
    )
    for row in table.itertuples(index=False):
        stream.write(_latex_row(row))
    stream.write("\\bottomrule\n\\end{longtable}\n")
    return stream.getvalue()


def _markdown_cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_latex(str(cell)) for cell in cells) + " \\\\\n"


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "³": "$^3$"}
    special |= {
        "²": "$^2$",
        "≥": r"$\geq$",
        "→": r"$\rightarrow$",
        "▲": r"$\blacktriangle$",
        "▼": r"$\blacktriangledown$",
        "…": r"\ldots{}",
    }
    special |= {"–": "--", "\N{NARROW NO-BREAK SPACE}": r"\,", "\N{NO-BREAK SPACE}": "~"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(special.get(sign, sign) for sign in text)
