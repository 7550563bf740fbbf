import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from nnunet_da.diagnosis import covariate_probe as module
from nnunet_da.diagnosis.covariate_probe import covariate_probe

DOMAINS = np.array(["source"] * 16 + ["target"] * 12)
SHIFT = np.where(DOMAINS == "target", 1.0, 0.0)


def features(rng, told, strength=1.0):
    """Twelve features, one of them the covariate with noise, all shifted between the domains."""
    x = rng.normal(0, 1, (28, 12)) + 5 * SHIFT[:, None]
    x[:, 3] += strength * told
    return x


def test_a_number_that_the_features_hold_is_read():
    rng = np.random.default_rng(0)
    age = rng.normal(60, 10, 28)
    result = covariate_probe(features(rng, age, 0.5), age, DOMAINS, numeric=True)
    assert (result.metric, result.n_cases) == ("Spearman", 28)
    assert result.score > 0.8
    assert result.r2 > 0.5
    assert result.readable
    assert result.p_value == pytest.approx(1 / 201)


@pytest.mark.parametrize("seed", range(3))
def test_a_difference_between_domains_passes_for_nothing(seed):
    """Age and features both differ between the domains, and within them have nothing to do with one another."""
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 3, 28) + 30 * SHIFT
    sex = np.where(rng.random(28) < 0.15 + 0.7 * SHIFT, "F", "M")
    sex[:3], sex[-3:] = "F", "M"
    x = features(rng, np.zeros(28))
    assert np.corrcoef(x.mean(axis=1), age)[0, 1] > 0.8  # a naive probe would read it
    for values, numeric in ((age, True), (sex, False)):
        result = covariate_probe(x, values, DOMAINS, numeric=numeric)
        assert not result.readable, result


def test_categories_are_read():
    rng = np.random.default_rng(1)
    sex = np.array(["F", "M"] * 14)
    result = covariate_probe(features(rng, sex == "M", 4), sex, DOMAINS, numeric=False)
    assert (result.metric, result.r2) == ("AUC", None)
    assert result.score > 0.85
    assert result.readable
    three = np.array((["a", "b", "c"] * 10)[:28])
    x = features(rng, three == "c", 5)
    x[:, 4] += 5 * (three == "a")
    result = covariate_probe(x, three, DOMAINS, numeric=False)
    assert result.readable


def test_chance_is_called_chance_about_as_often_as_promised():
    rng = np.random.default_rng(2)
    readable = [
        covariate_probe(rng.normal(size=(28, 5)), rng.normal(size=28), DOMAINS, numeric=True, permutations=60).readable for _ in range(60)
    ]
    assert np.mean(readable) < 0.12  # 2.5 % expected


def test_predictions_equal_scikit_learns_ridge(monkeypatch):
    monkeypatch.setattr(module, "REPEATS", 1)
    rng = np.random.default_rng(3)
    groups, x, y = (DOMAINS == "target").astype(int), rng.normal(size=(28, 7)), rng.normal(size=28)
    predict, residual = module._operators(x, groups, seed=4)
    expected, truth = np.zeros(28), np.zeros(28)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=4).split(x, groups):
        x_means = np.stack([x[train][groups[train] == group].mean(axis=0) for group in (0, 1)])
        y_means = np.array([y[train][groups[train] == group].mean() for group in (0, 1)])
        centred = x - x_means[groups]
        scale = centred[train].std(axis=0)
        ridge = Ridge(alpha=7, fit_intercept=False).fit(centred[train] / scale, (y - y_means[groups])[train])
        expected[test], truth[test] = ridge.predict(centred[test] / scale), (y - y_means[groups])[test]
    np.testing.assert_allclose(predict @ y, expected, atol=1e-10)
    np.testing.assert_allclose(residual @ y, truth, atol=1e-10)


def test_the_stratified_auc_of_one_domain_is_the_common_one():
    rng = np.random.default_rng(5)
    scores, positive = rng.normal(size=(20, 1)), (rng.random((20, 1)) < 0.4).astype(float)
    found = module._stratified_auc(scores, positive, np.zeros(20, int))
    assert found[0] == pytest.approx(roc_auc_score(positive[:, 0], scores[:, 0]))
    both = module._stratified_auc(np.array([[0.0], [1.0], [9.0], [8.0]]), np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([0, 0, 1, 1]))
    assert both[0] == 0.5  # right in one domain, wrong in the other; pairs across domains do not count


@pytest.mark.parametrize(
    ("values", "numeric", "words"),
    [
        (np.full(28, 3.0), True, "same in all"),
        (np.array(["F"] * 2 + ["M"] * 26), False, "'F' has 2"),
        (np.where(DOMAINS == "target", "x", "y"), False, "within a domain"),
    ],
)
def test_what_cannot_be_assessed_is_refused(values, numeric, words):
    with pytest.raises(ValueError, match=words):
        covariate_probe(np.random.default_rng(0).normal(size=(28, 4)), values, DOMAINS, numeric=numeric)


def test_few_cases_that_chance_tells_perfectly_are_refused():
    domains = np.array(["source"] * 6)
    with pytest.raises(ValueError, match="chance alone"):
        covariate_probe(np.random.default_rng(0).normal(size=(6, 4)), np.array(list("FFFMMM")), domains, numeric=False)


def test_permutations_stay_within_domains():
    groups = np.array([0, 1, 0, 1, 0, 1, 1, 0] * 3)
    order = module._permute_within(groups, np.random.default_rng(0))
    np.testing.assert_array_equal(groups[order], groups)
    assert sorted(order) == list(range(24))
    assert (order != np.arange(24)).any()
