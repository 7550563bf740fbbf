"""A page of a real size: four methods, 200 cases each; a minute."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nnunet_da.report.build import write_report

pytestmark = pytest.mark.slow

CASES = 200
MOST_BYTES = 10e6  # opens at once on a laptop


def write_arm(folder: Path, gain: float, rng: np.random.Generator) -> None:
    rows = []
    for domain, dice in (("Centre A", 0.95), ("Centre B", 0.85)):
        for case in range(CASES):
            for label in ("1", "2"):
                value = float(np.clip(dice + gain + rng.normal(0, 0.03), 0, 1))
                values = {"dice": value, "hd95_mm": 40 * (1 - value), "asd_mm": 8 * (1 - value), "volume_error_mm3": rng.normal(0, 800)}
                units = {"dice": "fraction", "volume_error_mm3": "mm3"}
                rows += [(f"case_{case:03d}", domain, label, metric, number, units.get(metric, "mm")) for metric, number in values.items()]
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=["case", "domain", "label", "metric", "value", "unit"]).to_csv(folder / "metrics.csv", index=False)


def test_four_methods_on_two_hundred_cases(tmp_path):
    rng = np.random.default_rng(0)
    for arm, gain in (("source_only", 0.0), ("grl", 0.01), ("mmd", -0.01), ("grl_mmd", 0.02)):
        write_arm(tmp_path / arm, gain, rng)
    page = write_report(tmp_path, progress=False)
    text = page.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    for label in ("1", "2"):
        for domain in ("Centre-A", "Centre-B"):
            assert (tmp_path / "figures" / f"metric-dice-{label}-{domain}.png").is_file()
    assert len(re.findall("<figure", text)) >= 16
