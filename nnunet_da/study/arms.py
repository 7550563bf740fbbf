"""The arms of a study: what the file names and the references that every study has."""

from dataclasses import dataclass, field
from typing import Any, Literal

from nnunet_da.errors import UserError
from nnunet_da.planning_trainers import aligns, check_trainer, needs_target, trainer_names
from nnunet_da.presets import load_preset
from nnunet_da.settings import AdaptationSettings, settings_from_dict
from nnunet_da.study.file import REFERENCES, ArmSpec, StudyFile, refuse_twice

Kind = Literal["train", "oracle", "joint", "adapt_bn", "self_train"]
TITLES = {
    "source_only": "source only",
    "zero_weight": "target forwarded, weights 0",
    "oracle": "oracle: trained on target labels",
    "joint": "joint: trained on both centres' labels",
}
FAMILIES = {"nnUNetTrainer_PFDAformer": "nnUNetTrainer_PFDAformer_SourceOnly"}  # how a trainer's name begins -> its baseline
CONFIDENCE = 0.9  # of a self-training, where the file says nothing
STOCK_SOURCE_ONLY = "nnUNetTrainer_UDA_SourceOnly"


@dataclass(frozen=True)
class Arm:
    """One arm, with nothing left open.

    Attributes:
        kind: "train" on the source's labels, "oracle" on the target's, "joint" on both; "adapt_bn" changes the BatchNorm statistics of
            `parent`'s models, "self_train" trains on `parent`'s predictions of the target too.
        settings: everything beyond the preset; the seed comes with the run.
        reference: one that the study adds or knows by its name, not one whose benefit is asked.
    """

    name: str
    title: str
    kind: Kind
    trainer: str
    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    confidence: float = CONFIDENCE
    reference: bool = False

    @property
    def trains(self) -> bool:
        return self.kind != "adapt_bn"

    @property
    def full_settings(self) -> AdaptationSettings:
        """Raises UserError where one is unknown or ill-typed."""
        return settings_from_dict({**load_preset(self.preset).settings, **self.settings})

    @property
    def iterations(self) -> int:
        settings = self.full_settings
        return settings.num_epochs * settings.iterations_per_epoch


def resolve_arms(study: StudyFile, lacking: dict[str, str]) -> list[Arm]:
    """References first, then the file's arms.

    Args:
        lacking: oracle or joint -> what it lacks, in words; neither where they can be had.

    Raises:
        UserError: unknown trainer, preset, parent or setting; oracle or joint without target labels; arms of different length.
    """
    specs = {arm.name: arm for arm in study.arms}
    method = _primary_method(study)
    asked = [name for name in REFERENCES if name in specs] if study.references is None else study.references
    wanted = [name for name in REFERENCES if study.references is None or name in study.references]
    needing = [name for name in asked if name in lacking]
    if needing:
        raise UserError(f"the arm '{needing[0]}' trains on the target's labels, but {lacking[needing[0]]}: mend that, or take the arm out")
    wanted = [name for name in wanted if name not in lacking]
    arms = [_reference(name, study, method, specs.get(name)) for name in wanted]
    others = [spec for spec in study.arms if spec.name not in wanted]
    for spec in others:
        if spec.name in REFERENCES:
            raise UserError(f"the arm '{spec.name}' is a reference that 'references' leaves out: add it there, or rename the arm")
    arms += [_arm(spec, study, {arm.name: arm for arm in arms} | specs) for spec in others]
    _check(arms)
    return arms


def _primary_method(study: StudyFile) -> ArmSpec:
    """The arm whose trainer and preset the references follow."""
    candidates = [arm for arm in study.arms if arm.name not in REFERENCES]
    if study.primary.method is not None:
        found = [arm for arm in candidates if arm.name == study.primary.method]
        if not found:
            names = ", ".join(arm.name for arm in candidates)
            raise UserError(f"'primary' must name a method among the arms ({names}), got '{study.primary.method}': correct it")
        parent = found[0].adapt_bn or found[0].self_train
        candidates = [*found, *(arm for arm in candidates if arm.name == parent), *candidates]
    trained = [arm for arm in candidates if arm.trainer is not None]
    if not trained:
        raise UserError("a study needs an arm with a trainer of its own beside the references, got none: add one")
    return trained[0]


def _reference(name: str, study: StudyFile, method: ArmSpec, spec: ArmSpec | None) -> Arm:
    spec = spec or ArmSpec(name)
    _check_reference(spec)
    baseline = next((trainer for start, trainer in FAMILIES.items() if str(method.trainer).startswith(start)), STOCK_SOURCE_ONLY)
    trainer, settings = baseline, {**study.settings, **spec.settings}
    if name == "zero_weight":
        method = _aligning(study, method)
        weights = [field for field in AdaptationSettings.__dataclass_fields__ if field.startswith("w_")]
        trainer, settings = str(method.trainer), {**study.settings, **method.settings, **spec.settings, **dict.fromkeys(weights, 0.0)}
    kind: Kind = name if name in ("oracle", "joint") else "train"  # type: ignore[assignment]
    preset = spec.preset or method.preset or study.preset
    return Arm(name, spec.title or TITLES[name], kind, spec.trainer or trainer, preset, settings, reference=True)


def _check_reference(spec: ArmSpec) -> None:
    """Raises UserError where the file makes a reference something else than its name says."""
    name, weights = spec.name, [setting for setting in spec.settings if setting.startswith("w_")]
    if spec.adapt_bn is not None or spec.self_train is not None or spec.confidence is not None:
        raise UserError(f"the reference '{name}' is trained as its name says: take adapt_bn, self_train and confidence out, or rename it")
    if name == "zero_weight" and weights:
        raise UserError(f"the weights of 'zero_weight' are 0, got '{weights[0]}': take it out, or rename the arm")
    if spec.trainer is None or spec.trainer not in trainer_names():  # an unknown one is refused with the others
        return
    if name == "zero_weight" and not aligns(spec.trainer):
        raise UserError(
            f"the reference '{name}' cannot have the trainer {spec.trainer}, which has no weights: take it out, or rename the arm"
        )
    if name != "zero_weight" and needs_target(spec.trainer):
        raise UserError(f"the reference '{name}' cannot have the trainer {spec.trainer}, which adapts: take it out, or rename the arm")


def _aligning(study: StudyFile, method: ArmSpec) -> ArmSpec:
    """The method where it has alignment terms, else the first arm on its plans that has, else GRL + MMD, which trains most networks."""
    plans = method.preset or study.preset
    others = [arm for arm in study.arms if arm.name not in REFERENCES and (arm.preset or study.preset) == plans]
    found = [arm for arm in (method, *others) if arm.trainer is not None and aligns(arm.trainer)]
    return found[0] if found else ArmSpec("zero_weight", trainer="nnUNetTrainer_UDA_GRL_MMD", preset=plans)


def _arm(spec: ArmSpec, study: StudyFile, others: dict[str, Any]) -> Arm:
    settings, title = {**study.settings, **spec.settings}, spec.title or spec.name.replace("_", " ")
    if spec.adapt_bn is not None and spec.self_train is not None:
        raise UserError(f"the arm '{spec.name}' may have adapt_bn or self_train, got both: make two arms")
    parent = spec.adapt_bn or spec.self_train
    if spec.confidence is not None and spec.self_train is None:
        raise UserError(f"the arm '{spec.name}' has a confidence, which is for self_train: take it out")
    if parent is None:
        if spec.trainer is None:
            raise UserError(f"the arm '{spec.name}' must name a trainer, or an arm in adapt_bn or self_train, it names none: add one")
        return Arm(spec.name, title, "train", spec.trainer, spec.preset or study.preset, settings)
    possible = [name for name in others if name != spec.name]
    if parent not in possible:
        raise UserError(f"the arm '{spec.name}' starts from '{parent}', expected another arm of {', '.join(possible)}: correct it")
    before = others[parent]
    if isinstance(before, ArmSpec) and before.adapt_bn is None and before.self_train is None:
        before = _arm(before, study, {})
    if isinstance(before, ArmSpec) or before.kind != "train":
        raise UserError(f"the arm '{spec.name}' must start from an arm that trains on the source, '{parent}' does not: choose another")
    confidence = CONFIDENCE if spec.confidence is None else spec.confidence
    if not 0 <= confidence <= 1:
        raise UserError(f"the arm '{spec.name}': confidence must lie between 0 and 1, got {confidence}: correct it")
    if spec.preset not in (None, before.preset):
        raise UserError(
            f"the arm '{spec.name}' is on the plans of '{parent}' ({before.preset}), got the preset {spec.preset}: leave it out"
        )
    if spec.adapt_bn is not None:
        if spec.trainer is not None or spec.settings:
            raise UserError(f"the arm '{spec.name}' changes the trained models of '{parent}': leave its trainer and settings out")
        if load_preset(before.preset).has_batch_norm is False:
            raise UserError(
                f"the arm '{spec.name}' changes BatchNorm statistics, the network of the preset {before.preset} has none: take it out"
            )
        return Arm(spec.name, title, "adapt_bn", before.trainer, before.preset, before.settings, parent)
    trainer, preset = spec.trainer or before.trainer, spec.preset or before.preset
    return Arm(spec.name, title, "self_train", trainer, preset, {**before.settings, **spec.settings}, parent, confidence)


def _check(arms: list[Arm]) -> None:
    refuse_twice("arms", [arm.name for arm in arms])
    refuse_twice("arms with their titles", [arm.title for arm in arms])
    arms = sorted(arms, key=lambda arm: arm.reference)  # a reference follows an arm of the file, which is the one to name
    for arm in arms:
        try:
            check_trainer(arm.trainer, load_preset(arm.preset).network_name, aligns=True)
        except UserError as error:
            raise UserError(f"the arm '{arm.name}': {error}") from error
        checkpoint = arm.preset if load_preset(arm.preset).checkpoint_network is not None else arm.full_settings.init_checkpoint
        if checkpoint is not None:
            raise UserError(f"the arm '{arm.name}' starts from a checkpoint ({checkpoint}): a study compares trainings from the start")
    lengths = {arm.name: arm.iterations for arm in arms}
    first = arms[0].name
    for name, iterations in lengths.items():
        if iterations != lengths[first]:
            raise UserError(
                f"all arms must train for the same number of iterations, '{first}' has {lengths[first]} and '{name}' {iterations}:"
                " set num_epochs and iterations_per_epoch in the study's settings"
            )
