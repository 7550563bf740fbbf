import numpy as np
import pytest

from nnunet_da.study.statistics.failures import Failures, compare_failures
from nnunet_da.study.statistics.values import Cube


def failing(runs: int, cases: int, *where: tuple[int, int]) -> np.ndarray:
    values = np.ones((runs, cases))
    for run, case in where:
        values[run, case] = np.nan
    return values


def compared(baseline: np.ndarray, method: np.ndarray, seeds: int = 0) -> Failures:
    """Runs are seeds of one fold, or of as many folds as `seeds` leaves."""
    runs = tuple((str(run % seeds), str(run // seeds)) if seeds else (str(run), "0") for run in range(len(baseline)))
    return compare_failures(Cube(np.stack([baseline, method]), runs, tuple(map(str, range(baseline.shape[1])))))


def test_worked_by_hand():
    """The method fails alone on case 1 in three runs, on case 2 in one; both fail on case 0."""
    baseline = failing(3, 10, (0, 0))
    method = failing(3, 10, (0, 0), (0, 1), (1, 1), (2, 1), (1, 2))
    found = compared(baseline, method)
    assert (found.n, found.failed_baseline, found.failed_method) == (30, 1, 5)
    assert (found.only_baseline, found.only_method) == (0, 4)
    assert found.p_mcnemar == pytest.approx(2 * 0.5**4)
    assert (found.cases_worse, found.cases_better) == (2, 0)
    assert found.p_cases == pytest.approx(2 * 0.5**2)  # a case counts once
    assert found.rate_difference == pytest.approx(4 / 30)
    assert found.low < 4 / 30 < found.high


def test_equal_failures_have_no_p():
    found = compared(failing(2, 5, (0, 0)), failing(2, 5, (0, 0)))
    assert np.isnan([found.p_mcnemar, found.p_cases]).all()
    assert found.rate_difference == 0


def test_one_run_has_mcnemar_and_no_interval():
    found = compared(failing(1, 8), failing(1, 8, (0, 1), (0, 2), (0, 3)))
    assert found.p_mcnemar == found.p_cases == pytest.approx(0.25)
    assert np.isnan(found.low)


def test_every_training_counts_and_the_rate_scatters_between_folds():
    method = failing(6, 10, *((run, case) for run in (0, 1) for case in (0, 1, 2)))  # all in one fold
    found, single = compared(failing(6, 10), method, seeds=2), compared(failing(6, 10), method)
    assert (found.n, found.failed_method, found.p_mcnemar) == (60, 6, single.p_mcnemar)
    assert found.rate_difference == single.rate_difference == pytest.approx(6 / 60)
    assert found.high - found.low > single.high - single.low  # three folds, not six trainings
