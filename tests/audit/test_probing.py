"""The probe on tables with a known answer."""

import numpy as np
import pandas as pd
import pytest

from nnunet_da.audit.probing import probe_sites


def tables(shift: float, n: int = 20, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    rng = np.random.default_rng(seed)
    source, target = (
        pd.DataFrame(rng.normal((move, 0, 0), 1, (n, 3)), columns=["moved", "same", "other"], index=[f"{name}{i}" for i in range(n)])
        for name, move in (("s", 0.0), ("t", shift))
    )
    return source, target, {name: name for name in (*source.index, *target.index)}


def test_one_law_is_at_chance_and_a_shift_is_not():
    alike, apart = (probe_sites(*tables(shift), permutations=40) for shift in (0.0, 4.0))
    assert alike.result.at_chance
    assert not apart.result.at_chance
    assert apart.features[0].name == "moved"
    assert apart.features[0].auc == pytest.approx(1, abs=0.03)
    assert apart.features[0].p_holm < 0.001
    assert min(feature.p_holm for feature in apart.features[1:]) > 0.05


def test_auc_of_one_feature_by_hand():
    source, target = (
        pd.DataFrame({"x": values}, index=[f"{name}{i}" for i in range(3)]) for name, values in (("s", [1, 2, 3]), ("t", [2.5, 4, 5]))
    )
    found = probe_sites(source, target, {name: name for name in (*source.index, *target.index)})
    assert found.features[0].auc == pytest.approx(8 / 9)
    assert found.result is None
    assert "5 scans" in found.gap


def test_scans_of_one_patient_count_once():
    source, target, units = tables(4.0, n=8)
    found = probe_sites(source, target, units | {name: f"patient{name[0]}{int(name[1:]) // 2}" for name in units})
    assert found.result is None  # 4 patients of either site
    assert "has 4" in found.gap


def test_features_that_are_missing_or_constant_are_named():
    source, target, units = tables(0.0)
    source, target = (table.assign(constant=1.0, gap=np.nan) for table in (source, target))
    found = probe_sites(source, target, units, permutations=40)
    assert found.dropped == ["constant", "gap"]


def test_identical_sites():
    source, target, units = tables(0.0)
    found = probe_sites(source[[]].assign(x=1.0), target[[]].assign(x=1.0), units)
    assert "identical" in found.gap


def test_one_seed_gives_one_result():
    first, second = (probe_sites(*tables(1.0, n=8), permutations=20, seed=3) for _ in range(2))
    assert first == second
