"""Tables of a report: summaries of metrics as CSV, Markdown and LaTeX."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd

from nnunet_da.report.study import Study

SHOWN_METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "hd_mm": "HD",
    "hd95_mm": "HD95",
    "asd_mm": "ASD, symmetric",
    "asd_reference_to_prediction_mm": "ASD, reference to prediction",
    "asd_prediction_to_reference_mm": "ASD, prediction to reference",
    "volume_mm3": "Volume of the prediction",
    "volume_error_mm3": "Volume error, prediction minus reference",
}
# unit in metrics.csv -> unit shown, factor, decimals
SHOWN_UNITS = {"fraction": ("", 1.0, 3), "mm": ("mm", 1.0, 2), "mm3": ("cm³", 1e-3, 2)}


def metric_title(metric: str, unit: str) -> str:
    """A metric as a reader knows it, with its unit."""
    shown_unit = SHOWN_UNITS.get(unit, (unit, 1.0, 3))[0]
    return SHOWN_METRICS.get(metric, metric) + (f" ({shown_unit})" if shown_unit else "")


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
    return sorted(study.metric_names, key=lambda metric: known.index(metric) if metric in known else len(known))


def shown_values(values: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Values in the unit the report shows."""
    return values * SHOWN_UNITS.get(unit, (unit, 1.0, 3))[1]


def number(value: float, unit: str) -> str:
    """A value in the unit the report shows; an undefined one is an en dash."""
    if not np.isfinite(value):
        return "–"
    _, factor, decimals = SHOWN_UNITS.get(unit, (unit, 1.0, 3))
    return f"{value * factor:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "−")


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


def to_markdown(table: pd.DataFrame) -> str:
    """A pipe table; text columns left, numbers right."""
    alignment = ["---" if column in ("Domain", "Label", "Metric", "Method") else "---:" for column in table]
    rows = [list(table), alignment, *([_markdown_cell(cell) for cell in row] for row in table.itertuples(index=False))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def to_latex(table: pd.DataFrame, caption: str) -> str:
    """A longtable with booktabs rules."""
    columns = "".join("l" if column in ("Domain", "Label", "Metric", "Method") else "r" for column in table)
    stream = io.StringIO()
    stream.write("% needs \\usepackage{booktabs,longtable}\n")
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
    special |= {"–": "--", "\N{NARROW NO-BREAK SPACE}": r"\,", "\N{NO-BREAK SPACE}": "~"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(special.get(sign, sign) for sign in text)
