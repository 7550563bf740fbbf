"""Write what was measured: four tables and radiomics.json, each whole or not at all."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.outputs import check_output, write_whole
from nnunet_da.radiomics.features import default_settings_file
from nnunet_da.radiomics.run import Radiomics, versions
from nnunet_da.radiomics.tables import Tables

FEATURES_FILE, AGREEMENT_FILE = "features.csv", "agreement.csv"
ENDPOINTS_FILE, ENDPOINT_AGREEMENT_FILE = "endpoints.csv", "endpoint_agreement.csv"
MANIFEST_FILE = "radiomics.json"
TABLE_FILES = (FEATURES_FILE, AGREEMENT_FILE, ENDPOINTS_FILE, ENDPOINT_AGREEMENT_FILE)
RESULTS = (MANIFEST_FILE, *TABLE_FILES)  # single cases are no result
WORK_FOLDER = "cases"
LAYOUT = 1  # of the tables and radiomics.json
FEW_CASES = 10


def write_results(radiomics: Radiomics, found: Tables, folder: Path, *, command: str = "", overwrite: bool = False) -> None:
    """Write everything; radiomics.json comes last, so that where it is, the tables are.

    Raises:
        UserError: the folder holds results already and `overwrite` is False.
    """
    check_output(folder, RESULTS, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for name, table in zip(TABLE_FILES, (found.features, found.agreement, found.endpoints, found.endpoint_agreement), strict=True):
        write_whole(folder / name, _csv(table))
    write_whole(folder / MANIFEST_FILE, json.dumps(manifest(radiomics, found, command), indent=2, default=str))


def manifest(radiomics: Radiomics, found: Tables, command: str = "") -> dict[str, Any]:
    """What was measured with what, and what could not be."""
    features = found.agreement[found.agreement["mask"] == "prediction"]
    return {
        "layout": LAYOUT,
        "method": radiomics.method,
        "labels": radiomics.labels.keys,
        "settings": {
            "file": (radiomics.settings.settings_file or default_settings_file()).name,
            "pyradiomics": radiomics.pyradiomics_settings,
            "calibration": radiomics.settings.bone.calibration,
            "shell_mm": radiomics.settings.bone.shell_mm,
            "nulls_mm": list(radiomics.settings.nulls_mm),
        },
        "cases": [{"case": case.case, "domain": case.domain, "seconds": round(values.seconds, 3)} for case, values in radiomics.cases],
        "failed": radiomics.failed,
        "undefined": [
            {"case": case.case, "domain": case.domain, "label": label, "mask": mask, "reason": reason}
            for case, label, mask, reason in radiomics.undefined()
        ],
        "constant_features": _listed(features[features["constant"]]),
        "undefined_features": _listed(features[features["n"] == 0]),
        "warnings": warnings_of(radiomics, found),
        "versions": versions(),
        "command": command,
    }


def warnings_of(radiomics: Radiomics, found: Tables) -> list[str]:
    """What a reader of the tables must know, one sentence each."""
    lines = []
    counts = pd.Series([case.domain for case, _ in radiomics.cases]).value_counts(sort=False)
    for domain, count in counts[counts < FEW_CASES].items():
        lines.append(f"{domain}: {count} case{'s' * (count > 1)} only; read the intervals, not the coefficients.")
    volumes = found.endpoint_agreement[found.endpoint_agreement["endpoint"] == "volume_mm3"]
    for row in volumes[(volumes["mask"] != "prediction") & (volumes["bias"] == 0)].itertuples():
        lines.append(f"{row.domain}, label {row.label}: {row.mask} is the reference itself, the voxels are too large for so small a step.")
    if radiomics.failed:
        lines.append(f"{len(radiomics.failed)} cases could not be measured and are in no table.")
    return lines


def _listed(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"domain": domain, "label": label, "features": list(group["feature"])}
        for (domain, label), group in rows.groupby(["domain", "label"], sort=False)
    ]


def _csv(table: pd.DataFrame) -> str:
    """An undefined value is empty; every digit is kept."""
    shown = table.copy()
    if "constant" in shown:
        shown["constant"] = shown["constant"].map({True: "yes", False: "no"})
    return shown.to_csv(index=False, lineterminator="\n")
