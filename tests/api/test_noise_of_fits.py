"""Fits with a noise component, from data to answers: held to formulas in NumPy and SciPy, and to planted noise."""

# SciPy's logsumexp has no types.
# pyright: reportAttributeAccessIssue=false

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

import gmm_pipeline as gmm
from gmm_pipeline.analysis import goodness

pytestmark = pytest.mark.usefixtures("quickly_compiled")

CONCENTRATION = 2.0
STEP = 1e-4
RANDOM = np.random.default_rng(11)
COMPONENTS = np.repeat([0, 1, -1], [240, 160, 60])
ONE = np.where(COMPONENTS == 0, RANDOM.normal(0.0, 1.0, 460), RANDOM.normal(7.0, 0.5, 460))
ONE[COMPONENTS == -1] = RANDOM.uniform(-15.0, 20.0, 60)
TWO = np.column_stack([ONE, np.where(COMPONENTS == -1, RANDOM.uniform(0.0, 900.0, 460), RANDOM.normal(500, 40, 460))])
COUNTS = RANDOM.integers(1, 4, 460).astype(float)


class Case(NamedTuple):
    """A fit, and the same model in NumPy."""

    fit: Any
    data: np.ndarray
    counts: np.ndarray
    volume: float


@pytest.fixture(scope="module", params=["one column", "two columns"])
def case(request: pytest.FixtureRequest) -> Case:
    quick = {"n_components": 2, "noise": "box", "optimizer": "squarem", "search": "none", "restarts": 4, "steps": 600}
    keys: dict[str, Any] = {**quick, "prior": {"concentration": CONCENTRATION}}
    if request.param == "one column":
        fit = gmm.fit(ONE, sample_weight=COUNTS, precision="float64", **keys)
        return Case(fit, ONE, COUNTS, np.ptp(ONE))
    # Along the columns the box is smaller than along any other direction.
    return Case(gmm.fit(TWO, **keys), TWO, np.ones(460), float(np.prod(np.ptp(TWO, axis=0))))


def unpacked(values: np.ndarray, like: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, locs, and scales or covariances, of free numbers."""
    k = len(like.weights)
    odds, locs, rest = np.split(values, [k, k + like.locs.size])
    total: Any = logsumexp(odds)
    weights = np.exp(odds - np.logaddexp(0.0, total))
    if like.locs.ndim == 1:
        return weights, locs, np.exp(rest)
    factors = np.zeros(like.covariances.shape)
    factors[:, *np.tril_indices(like.locs.shape[1])] = rest.reshape(k, -1)
    return weights, locs.reshape(like.locs.shape), factors @ np.swapaxes(factors, 1, 2)


def packed(fit: Any) -> np.ndarray:
    odds = np.log(fit.weights / fit.noise.weight)
    if fit.locs.ndim == 1:
        return np.concatenate([odds, fit.locs, np.log(fit.scales)])
    factors = np.linalg.cholesky(fit.covariances)
    return np.concatenate([odds, fit.locs.ravel(), factors[:, *np.tril_indices(fit.locs.shape[1])].ravel()])


def log_joint(weights: np.ndarray, locs: np.ndarray, spreads: np.ndarray, case: Case) -> np.ndarray:
    """Of the components and, last, of the noise."""
    density: Any = stats.norm.logpdf if locs.ndim == 1 else stats.multivariate_normal.logpdf
    own = [np.log(w) + density(case.data, loc, s) for w, loc, s in zip(weights, locs, spreads, strict=True)]
    return np.stack([*own, np.full(len(case.data), np.log((1.0 - weights.sum()) / case.volume))])


def log_posterior(values: np.ndarray, case: Case) -> float:
    weights, locs, spreads = unpacked(values, case.fit)
    prior = (CONCENTRATION - 1.0) * np.log(weights / weights.sum()).sum()
    return float(case.counts @ logsumexp(log_joint(weights, locs, spreads, case), axis=0) + prior)


def differences(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> np.ndarray:
    """The Jacobian, each step relative to its number."""
    steps = STEP * np.diag(np.maximum(np.abs(at), 1.0))
    return np.stack([(function(at + step) - function(at - step)) / (2.0 * step.sum()) for step in steps], axis=-1)


def test_the_likelihood_and_the_criteria_are_those_of_the_formula(case):
    fit, metrics = case.fit, case.fit.metrics
    spreads = fit.scales if fit.locs.ndim == 1 else fit.covariances
    joint = log_joint(fit.weights, fit.locs, spreads, case)
    heights: Any = logsumexp(joint, axis=0)
    log_likelihood, n = case.counts @ heights, case.counts.sum()
    np.testing.assert_allclose(metrics["log_likelihood"], log_likelihood, rtol=1e-10)
    # mclust counts the volume as a parameter, beside the weight: nMclustParams(..., noise = TRUE).
    p = 3 * 2 - 1 + 2 if fit.locs.ndim == 1 else 2 * (1 + 2 + 3) - 1 + 2
    assert metrics["n_parameters"] == p
    np.testing.assert_allclose(metrics["bic"], p * np.log(n) - 2.0 * log_likelihood, rtol=1e-10)
    r = np.exp(joint - heights)
    entropy = -case.counts @ np.sum(r * np.log(np.maximum(r, 1e-300)), axis=0)
    np.testing.assert_allclose(metrics["icl"], metrics["bic"] + 2.0 * entropy, rtol=1e-9)
    np.testing.assert_allclose(gmm.log_density(fit.mixture, case.data), heights, rtol=1e-10)
    np.testing.assert_allclose(gmm.responsibilities(fit.mixture, case.data), r.T, atol=1e-10)
    expected = np.array([0, 1, -1])[r.argmax(axis=0)]
    np.testing.assert_array_equal(fit.labels, expected)
    np.testing.assert_array_equal(gmm.labels(fit.mixture, case.data), expected)


def test_the_answer_is_a_maximum_and_its_errors_are_those_of_a_numerical_hessian(case):
    fit, at = case.fit, packed(case.fit)

    def slope(values: np.ndarray) -> np.ndarray:
        return differences(lambda point: np.array(log_posterior(point, case)), values)

    def reported(values: np.ndarray) -> np.ndarray:
        weights, locs, spreads = unpacked(values, fit)
        scales = spreads if locs.ndim == 1 else np.sqrt(np.diagonal(spreads, axis1=1, axis2=2))
        return np.concatenate([weights, locs.ravel(), scales.ravel(), [1.0 - weights.sum()]])

    inverse = np.linalg.inv(-differences(slope, at))
    gradient = slope(at)
    assert gradient @ inverse @ gradient < 1e-4  # the square of the distance to the maximum, in standard errors
    jacobian = differences(reported, at)
    expected = np.sqrt(np.diagonal(jacobian @ inverse @ jacobian.T))
    errors = fit.standard_errors
    found = np.concatenate([errors.weights, errors.locs.ravel(), errors.scales.ravel(), [fit.noise.standard_error]])
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    # The interval is symmetric on the logit scale.
    logit = stats.logistic.ppf([fit.noise.lower, fit.noise.weight, fit.noise.upper])
    half = stats.norm.ppf(0.975) * fit.noise.standard_error / (fit.noise.weight * (1.0 - fit.noise.weight))
    np.testing.assert_allclose(np.diff(logit), half, rtol=1e-9)


def test_planted_noise_is_found(case):
    fit, noise = case.fit, case.fit.noise
    planted = case.counts[COMPONENTS == -1].sum() / case.counts.sum()
    assert abs(noise.weight - planted) < 4.0 * noise.standard_error
    np.testing.assert_allclose(noise.weight + fit.weights.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.exp(-noise.log_density), case.volume, rtol=1e-9)
    # Without ties between components, what is wrong is noise that lies among them.
    names = fit.labels if fit.locs.ndim == 1 or fit.locs[0, 0] < fit.locs[1, 0] else np.array([1, 0, -1])[fit.labels]
    assert adjusted_rand_score(COMPONENTS, names) > 0.9
    assert np.mean(COMPONENTS[names == -1] == -1) > 0.9


def test_of_one_column_it_is_said_whether_the_data_agree(case):
    said = [clause for clause in case.fit.verdict if "Kolmogorov" in clause]
    assert len(said) == (case.data.ndim == 1)
    if said:
        assert goodness.noise_of(case.fit._run) == (case.fit.noise.weight, case.data.min(), case.data.max())


def test_a_mixture_with_noise_is_copied_but_not_drawn_from(case):
    mixture = case.fit.mixture
    np.testing.assert_array_equal(gmm.labels(copy.deepcopy(mixture), case.data), case.fit.labels)
    with pytest.raises(gmm.InputError, match="one without noise"):
        gmm.sample(mixture, 3, 0)


def test_with_a_bootstrap_the_interval_of_the_noise_is_that_of_the_replicates():
    keys: dict[str, Any] = {"n_components": 1, "noise": "box", "search": "none", "restarts": 1, "prior": "flat"}
    fit = gmm.fit(ONE[COMPONENTS != 1], optimizer="squarem", bootstrap=100, **keys)
    assert fit.noise is not None
    # With one component, the weight of the noise is what its weight lacks.
    lower, upper = fit.intervals(method="bootstrap")
    np.testing.assert_allclose([fit.noise.lower, fit.noise.upper], 1.0 - np.append(upper.weights, lower.weights))
    # The error of an error of 100 replicates is 7 %.
    np.testing.assert_allclose(fit.noise.standard_error, fit.standard_errors.weights[0], rtol=0.35)
    np.testing.assert_allclose(fit.to_arviz()["bootstrap"]["noise_weight"].std(ddof=1), fit.noise.standard_error)


@pytest.mark.parametrize(
    ("data", "keys", "key"),
    [
        (np.where(TWO < 1.0, np.nan, TWO), {"overrides": ["data.missing=marginalise"]}, "noise: expected "),
        (
            np.where(TWO < 1.0, np.nan, TWO),
            {"noise": "hull", "overrides": ["data.missing=marginalise"]},
            "noise: expected none where rows",
        ),
        (RANDOM.normal(size=(30, 9)), {"noise": "hull"}, "noise: expected box for more"),
        (ONE, {"prior": "dirichlet_process"}, "prior: expected "),
        (ONE, {"likelihood_ratio": 99}, "likelihood_ratio: expected "),
        (ONE, {"n_components": "auto", "criterion": "sbic", "prior": "flat"}, "criterion: expected "),
        (ONE, {"n_components": 0}, "n_components: expected "),
    ],
)
def test_what_is_not_defined_with_noise_is_refused_by_name(data, keys, key):
    with pytest.raises(gmm.InputError, match=f"^{key}"):
        gmm.fit(data, **{"noise": "box", "n_components": 2, **keys})
