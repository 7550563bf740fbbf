"""Write a comparison: comparison.csv, comparison.json, comparison.md, and anova.csv and seeds.csv where there is something to say."""

import json
import os
from pathlib import Path
from typing import Any

from nnunet_da.evaluation.compare import Comparison
from nnunet_da.evaluation.comparison_text import markdown_text
from nnunet_da.evaluation.statistics import CONFIDENCE
from nnunet_da.outputs import check_output, relative, versions_of

TABLE_FILE, MANIFEST_FILE, TEXT_FILE = "comparison.csv", "comparison.json", "comparison.md"
ANOVA_FILE, SEEDS_FILE = "anova.csv", "seeds.csv"
RESULTS = (TABLE_FILE, MANIFEST_FILE, TEXT_FILE, ANOVA_FILE, SEEDS_FILE)
LAYOUT = 1


def write_comparison(comparison: Comparison, folder: Path, *, command: str = "", overwrite: bool = False) -> None:
    """Write the files; each appears whole or not at all.

    Args:
        command: as typed, kept in comparison.json.

    Raises:
        UserError: the folder holds a comparison already and `overwrite` is False.
    """
    check_output(folder, RESULTS, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        TABLE_FILE: comparison.table.to_csv(index=False, lineterminator="\n"),
        ANOVA_FILE: comparison.anova.to_csv(index=False, lineterminator="\n") if len(comparison.anova) else "",
        SEEDS_FILE: comparison.seeds.to_csv(index=False, lineterminator="\n") if len(comparison.seeds) else "",
        TEXT_FILE: markdown_text(comparison),
        MANIFEST_FILE: json.dumps(manifest(comparison, folder, command), indent=2),
    }
    for name, text in texts.items():
        (folder / f".{name}.tmp").write_text(text, encoding="utf-8")
    for name, text in texts.items():
        os.replace(folder / f".{name}.tmp", folder / name)
        if not text:
            (folder / name).unlink()


def manifest(comparison: Comparison, folder: Path, command: str = "") -> dict[str, Any]:
    """What was compared and how; paths are relative to `folder`."""
    settings, pairs = comparison.settings, comparison.pairs
    return {
        "layout": LAYOUT,
        "methods": [{"name": method.name, "folders": [relative(run.folder, folder) for run in method.runs]} for method in pairs.methods],
        "labels": comparison.labels,
        "metrics": list(comparison.metrics),
        "alpha": settings.alpha,
        "family": int(comparison.table["family"].iloc[0]),
        "bootstrap": {
            "resamples": settings.resamples,
            "seed": settings.seed,
            "confidence": CONFIDENCE,
            "cases": "BCa",
            "seeds": "percentile",
        },
        "wilcoxon_zero_method": "wilcox",
        "against_first": settings.against_first,
        "left_out": [dict(zip(("domain", "case", "label"), unit, strict=True)) for unit in pairs.left_out],
        "warnings": list(comparison.warnings),
        "versions": versions_of("numpy", "scipy", "statsmodels", "pandas"),
        "commands": [command] if command else [],
    }
