"""What a study declares before it runs: one question, one endpoint, and the margins of harm."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nnunet_da.errors import UserError
from nnunet_da.evaluation.statistics import direction

ZERO_WEIGHT, SOURCE_ONLY, ORACLE = "zero_weight", "source_only", "oracle"
SMALLEST_GAINS = {"mm": 0.1, "fraction": 0.005}  # per unit: the least that would matter, where a study does not say


@dataclass(frozen=True)
class Declaration:
    """The question of a study, fixed before its first training.

    Attributes:
        arms: all arms, in the order of tables.
        methods: the arms whose question is asked; the others are references.
        source, targets: domains as metrics.csv names them.
        baseline: what methods are held against; "" takes zero_weight, else source_only.
        primary_method: of the one primary contrast; "" takes the first method.
        endpoint: metric of the primary contrast, one with a better end.
        metrics: further metrics that are compared; the endpoint and those with a margin always are.
        primary_target: "" takes the first target.
        label: key of the label of the primary contrast; "" takes the first.
        margins: metric -> loss on the source, in the metric's unit, up to which a method counts as not inferior.
        smallest_gain: gain of the endpoint, in its unit, below which a method counts as of no help; None: 0.1 mm, or 0.005 of a fraction.
        alpha: two-sided level of every test and interval.
        source_only, oracle: the two ends of the gap; "" takes the arms of these names, where there are such.
    """

    arms: tuple[str, ...]
    methods: tuple[str, ...]
    source: str
    targets: tuple[str, ...]
    baseline: str = ""
    primary_method: str = ""
    endpoint: str = "asd_mm"
    metrics: tuple[str, ...] = ("dice", "hd95_mm", "asd_mm")
    primary_target: str = ""
    label: str = ""
    margins: Mapping[str, float] = field(default_factory=lambda: {"dice": 0.001, "hd95_mm": 0.2})
    smallest_gain: float | None = None
    alpha: float = 0.05
    source_only: str = ""
    oracle: str = ""

    def __post_init__(self) -> None:
        for name in ("arms", "methods", "targets", "metrics"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        self._fill_in()
        self._check_arms()
        self._check_domains()
        self._check_numbers()

    @property
    def compared_metrics(self) -> tuple[str, ...]:
        """The endpoint first, then the others."""
        return tuple(dict.fromkeys([self.endpoint, *self.metrics, *self.margins]))

    @property
    def least_gain(self) -> float:
        """`smallest_gain`, or what stands for it."""
        return SMALLEST_GAINS[unit_of(self.endpoint)] if self.smallest_gain is None else self.smallest_gain

    @property
    def confidence(self) -> float:
        return 1 - self.alpha

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def _fill_in(self) -> None:
        defaults = {
            "baseline": next((name for name in (ZERO_WEIGHT, SOURCE_ONLY) if name in self.arms), ""),
            "primary_method": self.methods[0],
            "primary_target": self.targets[0],
            "source_only": SOURCE_ONLY if SOURCE_ONLY in self.arms else "",
            "oracle": ORACLE if ORACLE in self.arms else "",
        }
        for name, default in defaults.items():
            object.__setattr__(self, name, getattr(self, name) or default)
        object.__setattr__(self, "margins", dict(self.margins))
        object.__setattr__(self, "label", str(self.label))  # YAML reads a key as a number

    def _check_arms(self) -> None:
        if not self.baseline:
            raise UserError(
                f"a baseline was expected: {ZERO_WEIGHT} or {SOURCE_ONLY} among the arms, got {', '.join(self.arms)}: name one."
            )
        named = {"baseline": self.baseline, "source_only": self.source_only, "oracle": self.oracle}
        for role, arm in [*named.items(), *(("methods", method) for method in self.methods)]:
            if arm and arm not in self.arms:
                raise UserError(f"{role} must be among the arms {', '.join(self.arms)}, got {arm}: correct the declaration.")
        if self.baseline in self.methods:
            raise UserError(f"a method is held against another arm, got {self.baseline} as baseline and as method: name another baseline.")
        if self.primary_method not in self.methods:
            raise UserError(f"primary_method must be one of {', '.join(self.methods)}, got {self.primary_method}: correct it.")

    def _check_domains(self) -> None:
        if self.primary_target not in self.targets:
            raise UserError(f"primary_target must be one of {', '.join(self.targets)}, got {self.primary_target}: correct it.")
        if self.source in self.targets:
            raise UserError(f"the source must not be a target too, got {self.source} as both: name another target.")

    def _check_numbers(self) -> None:
        undirected = [metric for metric in self.compared_metrics if not direction(metric)]
        if undirected:
            raise UserError(f"metrics with a better end were expected (dice, asd_mm, ...), got {', '.join(undirected)}: leave them out.")
        numbers = {"smallest_gain": self.least_gain, **{f"margin of {metric}": margin for metric, margin in self.margins.items()}}
        for name, value in numbers.items():
            if not isinstance(value, (int, float)) or not value > 0:
                raise UserError(f"the {name} must be a number above 0, got {value!r}: state it in the metric's own unit.")
        if not isinstance(self.alpha, float) or not 0 < self.alpha < 0.5:
            raise UserError(f"alpha must lie between 0 and 0.5, got {self.alpha}: 0.05 is usual.")


def unit_of(metric: str) -> str:
    """Unit of a metric by the end of its name: "mm", "mm3", else "fraction"."""
    return next((unit for unit in ("mm3", "mm") if metric.endswith(f"_{unit}")), "fraction")


def _names(field_name: str, values: Sequence[str]) -> tuple[str, ...]:
    """As a tuple of distinct texts. Raises UserError."""
    found = tuple(values) if not isinstance(values, str) else (values,)
    if not found or len(set(found)) < len(found) or not all(isinstance(name, str) and name for name in found):
        raise UserError(f"{field_name} must be a list of distinct names, at least one, got {list(found)}: correct the declaration.")
    return found
