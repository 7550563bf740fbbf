"""What the study declared before it ran, for its statistics."""

from nnunet_da.study.arms import Arm
from nnunet_da.study.statistics.declaration import Declaration
from nnunet_da.study.study import Study


def declaration_of(study: Study) -> Declaration:
    """The question as the study file states it; an arm that failed stays in it, so that no other takes its place.

    Methods are asked about; arms on other plans than the baseline's and controls (shuffled domains) are described beside the references.
    """
    named, plans = [arm.name for arm in study.arms], study.arm(study.baseline).preset
    return Declaration(
        arms=tuple(named),
        methods=tuple(arm.name for arm in study.methods if arm.name != study.baseline and _is_asked(arm, study, plans)),
        source=study.source,
        targets=tuple(study.targets),
        baseline=study.baseline,
        primary_method=str(study.primary.method),
        endpoint=study.primary.metric,
        primary_target=str(study.primary.target),
        label=study.primary.label or "",
        margins=study.file.margins,
        smallest_gain=study.primary.smallest_gain,
        alpha=study.primary.alpha,
    )


def _is_asked(arm: Arm, study: Study, plans: str) -> bool:
    return arm.name == study.primary.method or (arm.preset == plans and not arm.full_settings.shuffle_domains)
