import numpy as np
import pytest

from nnunet_da.evaluation.probe import domain_probe


def samples(rng, cases, shift, per_case=3):
    """Samples that scatter little around their case, cases that scatter much around their domain."""
    centres = rng.normal(shift, 1, (cases, 4)).repeat(per_case, axis=0)
    names = [f"{shift}_{index}" for index in range(cases) for _ in range(per_case)]
    return centres + rng.normal(0, 0.01, centres.shape), names


def test_shifted_domains_are_told_apart():
    rng = np.random.default_rng(0)
    (source, cases_source), (target, cases_target) = samples(rng, 15, 0.0), samples(rng, 15, 2.0)
    result = domain_probe(source, target, cases_source, cases_target, permutations=60)
    assert result.auc > 0.95
    assert not result.at_chance
    assert result.p_value == pytest.approx(1 / 61)
    assert (result.n_source, result.n_target) == (15, 15)


@pytest.mark.parametrize("seed", range(3))
def test_cases_are_not_mistaken_for_domains(seed):
    """Every case is easy to recognise, the domains are one: a probe that split samples instead of cases would find them."""
    rng = np.random.default_rng(seed)
    (source, cases_source), (target, cases_target) = samples(rng, 15, 0.0), samples(rng, 15, 0.0)
    result = domain_probe(source, target, cases_source, [f"t{case}" for case in cases_target], permutations=60)
    assert result.null_low < 0.5 < result.null_high
    assert result.at_chance


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="equal F"):
        domain_probe(np.ones((9, 2)), np.ones((9, 3)), ["a"] * 9, ["b"] * 9)
    with pytest.raises(ValueError, match="5 folds"):
        domain_probe(np.ones((9, 2)), np.ones((9, 2)), ["a"] * 9, ["b"] * 9)
