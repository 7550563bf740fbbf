"""Write an audit: features.csv, audit.json and the page, each whole or not at all."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_da.audit.audit import AFTER, GRID, NOISE, RAW, Audit, feature_tables
from nnunet_da.audit.findings import NO_PROOF, findings, gaps
from nnunet_da.audit.leakage import Leak
from nnunet_da.audit.page import render_page
from nnunet_da.audit.probing import SiteProbe
from nnunet_da.datasets import write_json
from nnunet_da.outputs import plain_values, versions_of, write_whole

PAGE, RECORD, TABLE = "audit.html", "audit.json", "features.csv"
RESULTS = (PAGE, RECORD, TABLE)
LAYOUT = 1  # of audit.json
PREFIXES = {RAW: "", AFTER: "preprocessed_", GRID: "", NOISE: "noise_"}  # of the columns of features.csv


def write_audit(audit: Audit, folder: Path, command: str = "") -> Path:
    """Write everything into a folder; the page comes last, so that where it is, the rest is.

    Returns:
        The page.
    """
    page = render_page(audit, command)
    folder.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    write_whole(folder / TABLE, _table(audit))
    write_json(as_json(audit, command), folder / RECORD)
    write_whole(folder / PAGE, page)
    return folder / PAGE


def as_json(audit: Audit, command: str = "") -> dict[str, Any]:
    """All that was found, but the per-case features, which stand in features.csv; an undefined number is null."""
    content = {
        "layout": LAYOUT,
        "command": command,
        "source": audit.source,
        "targets": audit.targets,
        "scans": {name: len(audit.of(name)) for name in audit.datasets},
        "findings": [dataclasses.asdict(finding) for finding in findings(audit)],
        "caution": NO_PROOF,
        "not_assessed": gaps(audit),
        "leaks": [_leak(leak) for leak in audit.leaks],
        "repeats_on_one_side": [
            {"kind": kind, "first": first.name, "second": second.name, "detail": detail} for kind, first, second, detail in audit.repeats
        ],
        "pairs_compared": {"voxel_by_voxel": audit.compared[0], "all": audit.compared[1], "search_step_mm": audit.step_mm},
        "folds_from": audit.folds_from,
        "unreadable": [{"scan": scan.name, "reason": reason} for scan, reason in audit.unreadable],
        "preprocessing": {"text": audit.preprocessing.text, "spacing_mm": audit.preprocessing.spacing_mm},
        "probes": {target: {name: _probe(probe) for name, probe in probes.items()} for target, probes in audit.probes.items()},
        "orientations": audit.orientations,
        "sides": audit.sides,
        "flips": [
            {
                "axis": flips.axis,
                "informative": flips.informative,
                "mirrored": [audit.measured[place].scan.name for place in flips.mirrored],
                "margins": dict(zip([one.scan.name for one in audit.measured], flips.margins, strict=False)),
            }
            for flips in audit.flips
        ],
        "labels": [
            {
                "label": entry.label,
                "measure": entry.measure,
                "datasets": {
                    name: dict(zip(("median", "quartile_1", "quartile_3", "scans"), values, strict=True))
                    for name, values in entry.medians.items()
                },
                "p_holm": entry.p_holm,
            }
            for entry in audit.labels
        ],
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(audit.options).items()},
        "versions": versions_of("nnunetv2", "numpy", "scipy", "scikit-learn", "SimpleITK"),
    }
    return plain_values(content)


def _leak(leak: Leak) -> dict[str, str]:
    return {"kind": leak.kind, "first": leak.first.name, "second": leak.second.name, "between": leak.between, "detail": leak.detail}


def _probe(probe: SiteProbe) -> dict[str, Any]:
    result = None if probe.result is None else {**dataclasses.asdict(probe.result), "at_chance": probe.result.at_chance}
    features = [dataclasses.asdict(feature) for feature in probe.features]
    return {"result": result, "not_assessed": probe.gap, "features": features, "dropped": probe.dropped}


def _table(audit: Audit) -> str:
    """features.csv: one row per scan."""
    tables = feature_tables(audit.measured, audit.preprocessing)
    columns = {f"{PREFIXES[kind]}{name}": table[name].to_numpy() for kind, table in tables.items() for name in table}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "role", "split", "case", "patient", "orientation", *columns])
    for row, one in enumerate(audit.measured):
        scan = one.scan
        numbers = (values[row] for values in columns.values())
        texts = [scan.dataset, scan.role, scan.split, scan.case, scan.patient, one.grid.orientation]
        writer.writerow([*texts, *("" if not np.isfinite(value) else f"{value:.6g}" for value in numbers)])
    return stream.getvalue()
