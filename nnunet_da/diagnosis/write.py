"""Write a diagnosis: diagnosis.json and its pictures, each whole or not at all."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from nnunet_da.datasets import write_json
from nnunet_da.diagnosis.diagnose import Diagnosis
from nnunet_da.diagnosis.pictures import pictures
from nnunet_da.diagnosis.runs import Run
from nnunet_da.errors import UserError
from nnunet_da.outputs import check_folder, plain_values, versions_of

DIAGNOSIS_FILE = "diagnosis.json"
LAYOUT = 1  # of diagnosis.json


def check_output(folder: Path, overwrite: bool) -> None:
    """Raises UserError where the folder holds a diagnosis and overwriting is not asked for, or is a file."""
    check_folder(folder)
    if (folder / DIAGNOSIS_FILE).exists() and not overwrite:
        raise UserError(f"a folder without a diagnosis was expected, but {folder} holds one: choose another with -o or add --overwrite")


def write_diagnosis(diagnosis: Diagnosis, folder: Path, *, overwrite: bool = False) -> Path:
    """Write everything; the JSON file comes last, so that where it is, the pictures are.

    Returns:
        The JSON file.

    Raises:
        UserError: the folder holds a diagnosis already and `overwrite` is False.
    """
    check_output(folder, overwrite)
    drawn = pictures(diagnosis)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (folder / DIAGNOSIS_FILE, *folder.glob("diagnosis-*.png"), *folder.glob("diagnosis-*.svg")):
        file.unlink(missing_ok=True)  # pictures of an earlier diagnosis must not stand beside this one
    for picture in drawn:
        for kind, content in (("png", picture.png), ("svg", picture.svg)):
            temporary = folder / f".{picture.name}.{kind}.part"
            temporary.write_bytes(content)
            os.replace(temporary, folder / f"{picture.name}.{kind}")
    shown = [
        {
            "name": picture.name,
            "width": picture.width,
            "height": picture.height,
            "alternative": picture.alternative,
            "caption": picture.caption,
        }
        for picture in drawn
    ]
    write_json(as_json(diagnosis) | {"pictures": shown}, folder / DIAGNOSIS_FILE)
    return folder / DIAGNOSIS_FILE


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """All numbers, what was compared and with which versions; an undefined number is null."""
    held_out, options = diagnosis.held_out, dataclasses.asdict(diagnosis.options)
    content = {
        "layout": LAYOUT,
        "run": _run(diagnosis.run),
        "source_only": None if diagnosis.source_only is None else _run(diagnosis.source_only),
        "comparable": diagnosis.source_only is not None and not diagnosis.differ,
        "differences": diagnosis.differ,
        "held_out": {
            "source": [f"{case.dataset}/{case.case}" for case in held_out.source],
            "target": [f"{case.dataset}/{case.case}" for case in held_out.target],
            "transductive": held_out.transductive,
            "notes": held_out.notes,
        },
        "domain_probe": {
            "not_assessed": diagnosis.probe_gap,
            **{phase: {**dataclasses.asdict(result), "at_chance": result.at_chance} for phase, result in diagnosis.probes.items()},
        },
        "covariates_not_assessed": diagnosis.covariate_gap,
        "covariates": {
            outcome.name: {
                "not_assessed": outcome.not_assessed,
                **{phase: {**dataclasses.asdict(result), "readable": result.readable} for phase, result in outcome.results.items()},
            }
            for outcome in diagnosis.covariates
        },
        "gradients": [dataclasses.asdict(share) for share in diagnosis.shares],
        "negative_transfer": dataclasses.asdict(diagnosis.transfer),
        "findings": diagnosis.findings,
        "options": {name: None if value is None else str(value) if isinstance(value, Path) else value for name, value in options.items()},
        "versions": versions_of("nnunetv2", "torch", "numpy", "scikit-learn", "scipy"),
    }
    return plain_values(content)


def _run(run: Run) -> dict[str, Any]:
    return {"name": run.name, "trainer": run.trainer, "fold": run.fold, "checkpoint": run.kind, "settings": run.settings}
