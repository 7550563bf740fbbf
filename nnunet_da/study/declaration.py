"""What the study declared before it ran, for its statistics."""

from nnunet_da.study.statistics.declaration import Declaration
from nnunet_da.study.study import Study


def declaration_of(study: Study) -> Declaration:
    """The question as the study file states it; an arm that failed stays in it, so that no other takes its place."""
    named = [arm.name for arm in study.arms]
    return Declaration(
        arms=tuple(named),
        methods=tuple(arm.name for arm in study.methods if arm.name != study.baseline),
        source=study.source,
        targets=tuple(study.targets),
        baseline=study.baseline,
        primary_method=str(study.primary.method),
        endpoint=study.primary.metric,
        primary_target=str(study.primary.target),
        label=study.primary.label or "",
        margins=study.file.margins,
    )
