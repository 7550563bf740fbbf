"""What the study declared before it ran, for its statistics."""

from collections.abc import Mapping

import pandas as pd

from nnunet_da.study.layout import Run
from nnunet_da.study.statistics import Declaration
from nnunet_da.study.study import Study


def declaration_of(study: Study, scored: list[str], tables: Mapping[str, Mapping[Run, pd.DataFrame]]) -> Declaration | None:
    """None where the declared baseline or method was not scored: another question must not take its place."""
    methods = [arm.name for arm in study.methods if arm.name in scored and arm.name != study.baseline]
    if study.baseline not in scored or study.primary.method not in methods:
        return None
    primary, first = study.primary, next(iter(tables[study.baseline].values()))
    return Declaration(
        arms=[arm.name for arm in study.arms if arm.name in scored],
        baseline=study.baseline,
        methods=methods,
        primary_method=study.primary.method,
        endpoint=primary.metric,
        source=study.source,
        targets=study.targets,
        primary_target=str(primary.target),
        label=primary.label or str(first["label"].iloc[0]),
        margins=study.file.margins,
        source_only="source_only" if "source_only" in scored else None,
        oracle="oracle" if "oracle" in scored else None,
    )
