"""What the terminal shows: agreement and bias of the prediction, with the null beside it."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from nnunet_da.radiomics.run import Radiomics
from nnunet_da.radiomics.tables import Tables

HIGH_R = 0.99
LISTED = 10
WIDTHS = (30, 9, 12, 13, 15, 11)
HEAD = ("compared with the reference", "volume", "CCC median", "CCC low 10%", "|bias| median", "r > .99")
ENDPOINT_WIDTHS = (24, 26, 5, 9, 12, 8, 9, 10, 10)
ENDPOINT_HEAD = ("endpoint", "compared", "n", "CCC", "bias", "unit", "bias %", "R2 ident.", "R2 corr.")
LOW = 0.1


def as_text(radiomics: Radiomics, found: Tables) -> str:
    """Per domain and label: features, endpoints; then what is undefined, constant or failed."""
    lines = [
        f"method {radiomics.method}, {len(radiomics.cases)} cases" + (f" ({radiomics.reused} measured before)" * bool(radiomics.reused))
    ]
    for (domain, label), endpoints in found.endpoint_agreement.groupby(["domain", "label"], sort=False):
        features = found.agreement
        features = features[(features["domain"] == domain) & (features["label"] == label)]
        lines += _headline(f"{domain}, label {label} ({radiomics.labels.keys[label]})", features, endpoints)
    lines += _list(
        "features undefined", [f"{case.case}, label {label}, {mask}: {reason}" for case, label, mask, reason in radiomics.undefined()]
    )
    lines += _list("not measured", [f"{case}: {reason}" for case, reason in radiomics.failed.items()])
    return "\n".join(lines)


def _headline(title: str, features: pd.DataFrame, endpoints: pd.DataFrame) -> Iterator[str]:
    prediction = features[features["mask"] == "prediction"]
    constant = list(prediction.loc[prediction["constant"], "feature"])
    yield f"\n{title}: {len(prediction)} features, {len(constant)} constant" + (f": {', '.join(constant[:LISTED])}" if constant else "")
    yield from _feature_lines(features, endpoints)
    yield from _endpoint_lines(endpoints)


def _feature_lines(features: pd.DataFrame, endpoints: pd.DataFrame) -> Iterator[str]:
    """One line per mask: how its features agree, and by how much its volume is off."""
    yield _line(HEAD, WIDTHS)
    for mask, rows in features.groupby("mask", sort=False):
        volume = endpoints[(endpoints["mask"] == mask) & (endpoints["endpoint"] == "volume_mm3")]["bias_percent"].squeeze()
        ccc, r, bias_percent = rows["ccc"].dropna(), rows["pearson_r"].dropna(), rows["bias_percent"].abs().median()
        cells = (
            _title(str(mask)),
            _number(volume, "+.1f", " %"),
            _number(ccc.median(), ".3f"),
            _number(ccc.quantile(LOW), ".3f"),
            _number(bias_percent, ".1f", " %"),
            f"{(r > HIGH_R).sum()} of {len(r)}",
        )
        yield _line(cells, WIDTHS)


def _endpoint_lines(endpoints: pd.DataFrame) -> Iterator[str]:
    """One line per endpoint and mask."""
    yield _line(ENDPOINT_HEAD, ENDPOINT_WIDTHS)
    for endpoint, rows in endpoints.groupby("endpoint", sort=False):
        for index, row in enumerate(rows.to_dict("records")):
            cells = (
                str(endpoint) if index == 0 else "",
                _title(row["mask"]),
                str(row["n"]),
                _number(row["ccc"], ".3f"),
                _number(row["bias"], "+.4g"),
                row["unit"],
                _number(row["bias_percent"], "+.1f"),
                _number(row["r2_identity"], ".3f"),
                _number(row["r2_correlation"], ".3f"),
            )
            yield _line(cells, ENDPOINT_WIDTHS)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Text left, numbers right."""
    text = widths.index(max(widths)) + 1  # the columns up to the widest name things
    return "  " + "".join(
        f"{cell:<{width}}" if at < text else f"{cell:>{width}}" for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _title(mask: str) -> str:
    """ "reference eroded 0.5 mm" of "reference_eroded_0.5mm"."""
    return mask.replace("_", " ").replace("mm", " mm")


def _number(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def _list(title: str, lines: list[str]) -> list[str]:
    more = [f"  and {len(lines) - LISTED} more, see radiomics.json"] if len(lines) > LISTED else []
    return [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:LISTED]), *more] if lines else []
