"""Long tables of everything measured, and agreement per feature and endpoint across cases."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from nnunet_da.radiomics.agreement import Agreement, Determination, agreement, determination
from nnunet_da.radiomics.endpoints import UNITS
from nnunet_da.radiomics.features import family_of
from nnunet_da.radiomics.measure import MaskValues
from nnunet_da.radiomics.nulls import mask_names
from nnunet_da.radiomics.run import Radiomics

REFERENCE = "reference"
PLACE = ["case", "domain", "label", "mask"]
FEATURE_COLUMNS = [*PLACE, "feature", "value"]
ENDPOINT_COLUMNS = [*PLACE, "endpoint", "value", "unit"]
AGREEMENT_COLUMNS = ["domain", "label", "mask", "feature", "family", *Agreement.columns(), "note"]
ENDPOINT_AGREEMENT_COLUMNS = ["domain", "label", "mask", "endpoint", "unit", *Agreement.columns(), *Determination.columns(), "note"]

TYPES = dict.fromkeys(Agreement.columns(), "float64") | {"n": "int64", "n_undefined": "int64", "constant": "bool"}
EMPTY = pd.Series(dtype="float64")


@dataclasses.dataclass(frozen=True)
class Tables:
    """The four tables, with the columns above; an undefined value is NaN."""

    features: pd.DataFrame
    agreement: pd.DataFrame
    endpoints: pd.DataFrame
    endpoint_agreement: pd.DataFrame


def tables(radiomics: Radiomics) -> Tables:
    """Long tables, and the agreement of every mask with the reference, per domain and label."""
    features = pd.DataFrame(_rows(radiomics, lambda measured: measured.features, "feature"), columns=FEATURE_COLUMNS)
    endpoints = pd.DataFrame(_rows(radiomics, lambda measured: measured.endpoints, "endpoint"), columns=ENDPOINT_COLUMNS[:-1])
    endpoints["unit"] = endpoints["endpoint"].map(UNITS)
    of_features = [
        {**place, "feature": name, "family": family_of(name), **dataclasses.asdict(found), "note": found.note}
        for place, name, reference, other in _pairs(radiomics, features, "feature")
        for found in [agreement(reference, other)]
    ]
    of_endpoints = [
        {**place, "endpoint": name, "unit": UNITS[name], **dataclasses.asdict(found), **more, "note": found.note}
        for place, name, reference, other in _pairs(radiomics, endpoints, "endpoint")
        for found, more in [(agreement(reference, other), dataclasses.asdict(determination(reference, other)))]
    ]
    return Tables(
        features,
        pd.DataFrame(of_features, columns=AGREEMENT_COLUMNS).astype(TYPES),
        endpoints,
        pd.DataFrame(of_endpoints, columns=ENDPOINT_AGREEMENT_COLUMNS).astype(TYPES),
    )


def _rows(radiomics: Radiomics, values_of: Callable[[MaskValues], dict[str, float]], kind: str) -> Iterator[dict]:
    for case, values in radiomics.cases:
        for label, masks in values.labels.items():
            for mask, measured in masks.items():
                place = dict(zip(PLACE, (case.case, case.domain, label, mask), strict=True))
                yield from (place | {kind: name, "value": value} for name, value in values_of(measured).items())


def _pairs(radiomics: Radiomics, values: pd.DataFrame, kind: str) -> Iterator[tuple[dict[str, str], str, np.ndarray, np.ndarray]]:
    """Place, name, reference and other, both (N,) over all cases of the domain: a case without a value is NaN."""
    columns = {key: rows.set_index("case")["value"] for key, rows in values.groupby(["domain", "label", "mask", kind])}
    names = list(dict.fromkeys(values[kind]))
    for domain in dict.fromkeys(case.domain for case, _ in radiomics.cases):
        in_domain = [case.case for case, _ in radiomics.cases if case.domain == domain]
        for label in radiomics.labels.keys:
            for mask in mask_names(radiomics.settings.nulls_mm)[1:]:
                for name in names:
                    keys = [(domain, label, REFERENCE, name), (domain, label, mask, name)]
                    reference, other = (columns.get(key, EMPTY).reindex(in_domain).to_numpy() for key in keys)
                    yield {"domain": domain, "label": label, "mask": mask}, name, reference, other
