"""Made-up studies: values of trained models with known differences and known scatter."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from nnunet_da.study.statistics.analysis import StudyAnswer, analyse
from nnunet_da.study.statistics.declaration import Declaration

ASD = {"source_only": 2.0, "zero_weight": 1.9, "grl": 1.5, "mmd": 1.85, "oracle": 1.0}  # mm, on the target
COLUMNS = ["arm", "seed", "fold", "domain", "case", "label", "metric", "value"]


def trained(
    rng: np.random.Generator, arms: int, runs: int, cases: int, *, case: float, arm_case: float, run: float, rest: float
) -> np.ndarray:
    """(arms, runs, cases) without any difference between arms: standard deviations of cases, of arm by case, of trainings, and the rest."""
    shared = rng.normal(0, case, cases) + rng.normal(0, arm_case, (arms, 1, cases))
    return shared + rng.normal(0, run, (arms, runs, 1)) + rng.normal(0, rest, (arms, runs, cases))


def study_values(asd: Mapping[str, float], seeds: int, cases: int, folds: int, failed: tuple[str, ...], rng_seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(rng_seed)
    rows = []
    for domain in ("A", "B"):
        values = trained(rng, len(asd), seeds * folds, cases, case=0.3, arm_case=0.02, run=0.03, rest=0.05)
        for arm, table in zip(asd, values, strict=True):
            for run, scores in enumerate(table):
                for case, score in enumerate(scores):
                    distance = score + (asd[arm] if domain == "B" else 0.8)
                    lost = domain == "B" and arm in failed and case == 0
                    metrics = {"dice": 0.0 if lost else 0.98 - distance / 25, "asd_mm": distance, "hd95_mm": 3 * distance}
                    for metric, value in metrics.items():
                        value = np.nan if lost and metric != "dice" else value
                        rows.append((arm, run // folds, run % folds, domain, f"case{case:02d}", "1", metric, value))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    """Values without any difference between arms, see `trained`."""
    return trained


@pytest.fixture(scope="session")
def make_values() -> Callable[..., pd.DataFrame]:
    """The long table of a study of five arms, source A, target B; grl is better than zero_weight by 0.4 mm of ASD, the source is alike."""

    def make(asd=None, seeds=3, cases=8, folds=1, failed=(), rng_seed=0):
        return study_values(ASD if asd is None else asd, seeds, cases, folds, failed, rng_seed)

    return make


@pytest.fixture(scope="session")
def declaration() -> Declaration:
    return Declaration(arms=tuple(ASD), methods=("grl", "mmd"), source="A", targets=("B",))


@pytest.fixture(scope="session")
def analysed(make_values, declaration) -> Callable[..., StudyAnswer]:
    """The answer to `make_values(...)`, computed once; not to be changed."""
    known: dict[str, StudyAnswer] = {}

    def get(*values, **options) -> StudyAnswer:
        key = repr((values, options))
        if key not in known:
            known[key] = analyse(make_values(*values, **options), declaration, resamples=200)
        return known[key]

    return get
