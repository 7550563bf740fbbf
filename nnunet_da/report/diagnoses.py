"""Diagnoses of runs in a report: what `nnunet-da diagnose` wrote beside the evaluations."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_da.errors import UserError
from nnunet_da.report.pictures import Picture, file_name

DIAGNOSIS_FILE = "diagnosis.json"


@dataclass(frozen=True)
class DiagnosisRecord:
    """One diagnosis.

    Attributes:
        arm: shown name of the method.
        run: where the run stood in nnUNet_results.
        verdict: the negative-transfer alarm in one sentence.
        alarm: whether it fired.
        findings: one sentence each.
    """

    arm: str
    run: str
    verdict: str
    alarm: bool
    findings: list[str]
    pictures: list[Picture]


def read_diagnoses(folder: Path, arm: str) -> list[DiagnosisRecord]:
    """Every diagnosis below the folder of an arm.

    Raises:
        UserError: one is not what `diagnose` writes.
    """
    return [_read(file, arm) for file in sorted(folder.rglob(DIAGNOSIS_FILE))]


def _read(file: Path, arm: str) -> DiagnosisRecord:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        transfer = found["negative_transfer"]
        return DiagnosisRecord(
            arm,
            found["run"]["name"],
            f"Negative transfer: {transfer['status']}. {transfer['reason'][:1].upper()}{transfer['reason'][1:]}.",
            transfer["status"] == "ALARM",
            list(found["findings"]),
            [_picture(file.parent, entry, arm) for entry in found["pictures"]],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} must be what nnunet-da diagnose writes, with its pictures, got {error!r}: diagnose again.") from error


def _picture(folder: Path, entry: dict[str, Any], arm: str) -> Picture:
    name = file_name(entry["name"])
    png, svg = ((folder / f"{name}.{kind}").read_bytes() for kind in ("png", "svg"))
    return Picture(file_name(arm, name), png, svg, int(entry["width"]), int(entry["height"]), entry["alternative"], entry["caption"])
