import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnunet_da.evaluation.anova import anova, greenhouse_geisser


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    cases = rng.normal(5, 2, (20, 1))
    return cases + np.array([0.0, 0.1, 0.4, 0.2]) + rng.normal(0, [0.1, 0.3, 0.5, 0.9], (20, 4))


def long_form(values):
    cases, methods = np.indices(values.shape)
    return pd.DataFrame({"case": cases.ravel(), "method": methods.ravel(), "value": values.ravel()})


def test_value_worked_by_hand():
    # cases 1, 3; method means 1, 2, 3 and one case's values shifted: residuals are +-0.5 in two cells of each row
    found = anova([[0.0, 1.0, 2.5], [2.0, 3.0, 3.5]])
    # grand mean 2; method means 1, 2, 3: MS = 2 * (1 + 0 + 1) / 2 = 2; residuals -1/6, -1/6, 1/3 twice: SS = 1/3, df 2
    assert found.f_repeated == pytest.approx(2 / (1 / 3 / 2))
    assert (found.df1, found.df2, found.n) == (2, 2, 2)
    assert found.p_repeated == pytest.approx(stats.f.sf(12, 2, 2))


def test_equals_statsmodels(values):
    anova_rm = pytest.importorskip("statsmodels.stats.anova").AnovaRM
    table = anova_rm(long_form(values), "value", "case", within=["method"]).fit().anova_table.iloc[0]
    found = anova(values)
    assert (found.f_repeated, found.df1, found.df2, found.p_repeated) == pytest.approx(tuple(table))
    assert (found.f_plain, found.p_plain) == pytest.approx(tuple(stats.f_oneway(*values.T)))


@pytest.mark.filterwarnings("ignore")
def test_correction_equals_pingouin(values):
    pingouin = pytest.importorskip("pingouin")
    table = pingouin.rm_anova(long_form(values), dv="value", within="method", subject="case", correction=True).iloc[0]
    found = anova(values)
    assert found.epsilon == pytest.approx(table["eps"], abs=1e-6)
    assert found.p_greenhouse_geisser == pytest.approx(
        table[next(name for name in table.index if "GG" in name and name[0] == "p")], abs=1e-6
    )


def test_epsilon_from_the_eigenvalues_of_the_contrasts(values):
    contrasts = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0][:, 1:]  # orthonormal, without the mean
    eigenvalues = np.linalg.eigvalsh(contrasts.T @ np.cov(values.T) @ contrasts)
    assert greenhouse_geisser(values) == pytest.approx(eigenvalues.sum() ** 2 / (3 * (eigenvalues**2).sum()))
    assert 1 / 3 <= greenhouse_geisser(values) < 1


def test_pairing_finds_what_the_plain_one_misses(values):
    found = anova(values)
    assert found.p_greenhouse_geisser > found.p_repeated  # the correction is the careful side
    assert found.p_plain > 0.5 > found.p_repeated


def test_undefined_cases_are_left_out_and_counted(values):
    extended = np.vstack([values, [[1, 2, math.nan, 4]]])
    found, clean = anova(extended), anova(values)
    assert (found.n, found.n_undefined) == (20, 1)
    assert (found.f_repeated, found.f_plain) == (clean.f_repeated, clean.f_plain)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((5, 3)) * np.arange(5)[:, None], "identical"),
        (np.arange(5)[:, None] * 0.1 + np.array([0.0, 0.1, 0.3]), "no spread"),
        ([[1.0, 2.0, 4.0]], "1 case defined"),
        ([[1.0, 2.0, math.nan]], "no cases defined"),
    ],
)
def test_says_what_is_not_defined(values, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = anova(values)
    assert said in found.notes[0]
    assert all(map(math.isnan, (found.f_repeated, found.p_repeated, found.p_greenhouse_geisser, found.f_plain, found.p_plain)))


def test_refuses_two_methods():
    with pytest.raises(ValueError, match="at least 3 methods"):
        anova([[1.0, 2.0], [3.0, 4.0]])
