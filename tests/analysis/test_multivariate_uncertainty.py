"""Standard errors in several columns: textbook formulas, and finite differences of a log-likelihood in NumPy."""

# SciPy's and scikit-learn's results have no types.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_64
from jax.tree_util import Partial
from scipy import linalg, optimize, stats
from sklearn.mixture import GaussianMixture

from gmm_pipeline.analysis.multivariate_curvature import _moving, _zeros
from gmm_pipeline.analysis.multivariate_uncertainty import multivariate_errors, multivariate_intervals
from gmm_pipeline.model.covariances import MODELS, number_of_parameters
from gmm_pipeline.model.natural import MultivariateErrors, MultivariateMixture, reported, taken
from gmm_pipeline.model.random_mixtures import random_mixture

STEP = 1e-3
DIFFERENCES = 2e-3
"""Relative; of errors from differences with that step."""


def moments(data) -> MultivariateMixture:
    return MultivariateMixture(np.ones(1), data.mean(axis=0)[None], np.cov(data.T, bias=True)[None])


RANDOM = np.random.default_rng(0)
ONE = RANDOM.normal(size=(300, 3)) @ np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-1.0, 0.3, 0.7]]).T + 4.0


def test_one_component_has_the_standard_errors_of_the_textbook():
    mixture = moments(ONE)
    errors = multivariate_errors(mixture, "VVV", ONE, np.ones(300))
    covariance, variances = mixture.covariances[0], np.diag(mixture.covariances[0])
    np.testing.assert_array_equal(errors.weights, 0.0)
    np.testing.assert_allclose(errors.locs[0], np.sqrt(variances / 300), rtol=1e-9)
    expected = np.sqrt((np.outer(variances, variances) + covariance**2) / 300)
    np.testing.assert_allclose(errors.covariances[0], expected, rtol=1e-9)
    np.testing.assert_allclose(errors.scales[0], np.sqrt(variances / 600), rtol=1e-9)
    of_correlations = (1.0 - mixture.correlations[0] ** 2) / np.sqrt(300)
    np.testing.assert_allclose(errors.correlations[0], of_correlations, atol=1e-9)
    twice = multivariate_errors(mixture, "VVV", ONE, np.full(300, 4.0))
    for leaf, half in zip(errors, twice, strict=True):
        np.testing.assert_allclose(half, leaf / 2.0, rtol=1e-9)


@pytest.mark.parametrize("robust", [False, True])
def test_a_long_pass_says_how_far_it_is(monkeypatch, robust):
    monkeypatch.setattr("gmm_pipeline.analysis.feature_sums.ELEMENTS_AT_ONCE", 1000)  # blocks of 100 rows
    rows: list[int] = []
    multivariate_errors(moments(ONE), "VVV", ONE, np.ones(300), robust=robust, seen=rows.append)
    assert rows == [100, 200, 300]


def hessian_of(function, n: int) -> np.ndarray:
    steps = STEP * np.eye(n)
    found = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            found[i, j] = found[j, i] = sum(
                s * t * function(s * steps[i] + t * steps[j]) for s in (1, -1) for t in (1, -1)
            ) / (4 * STEP**2)
    return found


def flat(mixture: MultivariateMixture) -> np.ndarray:
    return np.concatenate([leaf.ravel() for leaf in reported(mixture)])


def log_likelihood(mixture: MultivariateMixture, data) -> float:
    """Of what is there: rows that have the same columns together."""
    total = 0.0
    for here in np.unique(~np.isnan(data), axis=0):
        locs, covariances = mixture.locs[:, here], mixture.covariances[:, here][:, :, here]
        gaps = data[(~np.isnan(data) == here).all(axis=1)][:, here] - locs[:, None]
        squares = np.einsum("kni,kij,knj->kn", gaps, np.linalg.inv(covariances), gaps)
        heights = np.log(mixture.weights) - 0.5 * np.linalg.slogdet(2 * np.pi * covariances)[1]
        total += np.logaddexp.reduce(heights[:, None] - 0.5 * squares).sum()
    return total


def errors_by_differences(mixture_at, n: int, data, log_prior=lambda mixture: 0.0) -> np.ndarray:
    """Of all that is reported, for a parametrisation of n numbers about zero."""

    def minus_log_posterior(values):
        mixture = mixture_at(values)
        return -log_likelihood(mixture, data) - log_prior(mixture)

    covariance = np.linalg.inv(hessian_of(minus_log_posterior, n))
    jacobian = np.stack(
        [(flat(mixture_at(step)) - flat(mixture_at(-step))) / (2 * STEP) for step in STEP * np.eye(n)], axis=1
    )
    return np.sqrt(np.maximum(np.diag(jacobian @ covariance @ jacobian.T), 0.0))


def compare(errors: MultivariateErrors, expected: np.ndarray) -> None:
    found = np.concatenate([leaf.ravel() for leaf in errors])
    np.testing.assert_allclose(found, expected, rtol=DIFFERENCES, atol=1e-7)


@pytest.fixture(scope="module")
def two() -> tuple[np.ndarray, MultivariateMixture]:
    random = np.random.default_rng(1)
    data = np.concatenate(
        [
            random.multivariate_normal([0, 0], [[1, 0.5], [0.5, 2]], 120),
            random.multivariate_normal([3, 1], np.eye(2), 80),
        ]
    )
    fit = GaussianMixture(2, tol=1e-12, max_iter=10_000, reg_covar=0.0, random_state=0).fit(data)
    return data, MultivariateMixture(fit.weights_, fit.means_, fit.covariances_)


def at_maximum(mixture_at, n: int, data) -> MultivariateMixture:
    found = optimize.minimize(lambda values: -log_likelihood(mixture_at(values), data), np.zeros(n), tol=1e-9)
    return mixture_at(found.x)


@pytest.mark.parametrize("model", ["VVV", "EEE", "VVI"])
def test_missing_cells_widen_errors_as_a_numerical_hessian_says(two, model):
    data, start = two
    data = np.where(np.random.default_rng(2).random(data.shape) < 0.2, np.nan, data)
    data = data[~np.isnan(data).all(axis=1)]
    rows, columns = np.triu_indices(2)

    def around(mixture):
        def mixture_at(values):
            odds = mixture.weights * np.exp([0.0, values[0]])
            changes = np.zeros((2, 2, 2))
            own = values[5:].reshape(-1, 3 if model != "VVI" else 2)
            if model == "VVI":
                changes[:, [0, 1], [0, 1]] = own
            else:
                changes[:, rows, columns] = changes[:, columns, rows] = own
            return MultivariateMixture(
                odds / odds.sum(), mixture.locs + values[1:5].reshape(2, 2), mixture.covariances + changes
            )

        return mixture_at

    covariances = {
        "VVV": start.covariances,
        "EEE": np.broadcast_to(start.covariances.mean(axis=0), (2, 2, 2)),
        "VVI": start.covariances * np.eye(2),
    }[model]
    n = number_of_parameters(model, 2, 2)
    fitted = at_maximum(around(start._replace(covariances=covariances)), n, data)
    errors = multivariate_errors(fitted, model, data, np.ones(len(data)))
    compare(errors, errors_by_differences(around(fitted), n, data))


@pytest.mark.parametrize("model", ["VVV", "EEE"])
def test_only_what_no_row_determines_has_no_error(model):
    """Two groups far apart, of which one lacks a column: the errors of each are those of a sample of a normal."""
    random = np.random.default_rng(4)
    whole, half = random.multivariate_normal([0, 0], [[1, 0.5], [0.5, 2]], 120), 60.0 + random.normal(size=80)
    data = np.vstack([whole, np.column_stack([half, np.full(80, np.nan)])])
    of_whole = np.cov(whole.T, bias=True)
    of_half = np.array([[half.var(), 0.3], [0.3, 1.0]])
    locs = np.array([whole.mean(axis=0), [half.mean(), 5.0]])
    if model == "EEE":
        together = (120.0 * of_whole[0, 0] + 80.0 * half.var()) / 200.0
        slope = of_whole[0, 1] / of_whole[0, 0]
        rest = of_whole[1, 1] - slope * of_whole[0, 1]
        of_whole = of_half = np.array([[together, slope * together], [slope * together, rest + slope**2 * together]])
    fitted = MultivariateMixture(np.array([0.6, 0.4]), locs, np.stack([of_whole, of_half]))
    errors = multivariate_errors(fitted, model, data, np.ones(200))
    unknown = np.array([[False, False], [False, True]])
    np.testing.assert_array_equal(np.isnan(errors.locs), unknown)
    np.testing.assert_array_equal(np.isnan(errors.scales), unknown & (model == "VVV"))
    assert np.isnan(errors.correlations[1, 0, 1]) == (model == "VVV")
    np.testing.assert_allclose(errors.weights, np.sqrt(0.6 * 0.4 / 200.0), rtol=1e-6)
    np.testing.assert_allclose(errors.locs[0], np.sqrt(np.diag(of_whole) / 120.0), rtol=1e-6)
    np.testing.assert_allclose(errors.locs[1, 0], np.sqrt(of_half[0, 0] / 80.0), rtol=1e-6)
    n_data = 80.0 if model == "VVV" else 200.0
    np.testing.assert_allclose(errors.scales[1, 0], np.sqrt(of_half[0, 0] / (2.0 * n_data)), rtol=1e-6)


@pytest.mark.parametrize("added", [0.0, 3.0])
def test_full_covariances_have_the_errors_of_a_numerical_hessian_in_their_own_entries(two, added):
    """Without a prior the fit is at the maximum, where no parametrisation matters."""
    data, mixture = two
    rows, columns = np.triu_indices(2)

    def mixture_at(values):
        # In logits, the coordinates in which the prior's curvature is taken, since with one this is no maximum.
        odds = mixture.weights * np.exp([values[0] * (np.argmin(mixture.weights) == k) for k in range(2)])
        covariances = mixture.covariances.copy()
        for k, change in enumerate(values[5:].reshape(2, 3)):
            covariances[k, rows, columns] += change
            covariances[k, columns, rows] = covariances[k, rows, columns]
        return MultivariateMixture(odds / odds.sum(), mixture.locs + values[1:5].reshape(2, 2), covariances)

    log_prior = Partial(lambda added, weights, locs, covariances: added * jnp.sum(jnp.log(weights)), added)
    errors = multivariate_errors(mixture, "VVV", data, np.ones(len(data)), log_prior=log_prior)
    compare(errors, errors_by_differences(mixture_at, 11, data, lambda one: added * np.log(one.weights).sum()))


def parametrisation(model: str, mixture: MultivariateMixture):
    """By volumes, shapes and rotations, written down once more with SciPy's exponential."""
    n_components, n_columns = mixture.locs.shape
    rows, columns = np.triu_indices(n_columns, 1)
    widths = (1, n_columns - 1, len(rows))
    sizes = [{"E": 1, "V": n_components, "I": 0}[letter] for letter in model]
    lengths = [n_components - 1, n_components * n_columns, *(s * w for s, w in zip(sizes, widths, strict=True))]
    heaviest = int(np.argmax(mixture.weights))
    # Matrices of one orientation have the eigenvectors of their sum, if it has any of its own.
    kinds = mixture.covariances.sum(axis=0) if model[2] == "E" else None
    axes = [np.linalg.eigh(kinds if kinds is not None else one)[1] for one in mixture.covariances]
    axes = [np.eye(n_columns) if model[2] == "I" else one for one in axes]

    def mixture_at(values):
        log_weights, locs, volumes, shapes, turns = np.split(values, np.cumsum(lengths)[:-1])
        odds = mixture.weights * np.exp(np.insert(log_weights, heaviest, 0.0))
        covariances = []
        for k in range(n_components):
            log_variances = np.log(np.diag(axes[k].T @ mixture.covariances[k] @ axes[k])).copy()
            log_variances += volumes[k % len(volumes)]
            if sizes[1]:
                own = shapes.reshape(sizes[1], -1)[k % sizes[1]]
                log_variances += np.append(own, -own.sum())
            turned = axes[k]
            if sizes[2]:
                skew = np.zeros((n_columns, n_columns))
                skew[rows, columns] = turns.reshape(sizes[2], -1)[k % sizes[2]]
                turned = axes[k] @ linalg.expm(skew - skew.T)
            covariances.append((turned * np.exp(log_variances)) @ turned.T)
        return MultivariateMixture(
            odds / odds.sum(), mixture.locs + locs.reshape(mixture.locs.shape), np.stack(covariances)
        )

    return mixture_at, sum(lengths)


@pytest.mark.parametrize("model", ["EII", "VEI", "EVE", "EEV", "VVV"])
def test_every_kind_of_sharing_has_the_errors_of_a_numerical_hessian(model):
    """Beside the maximum, with parameters that agree to second order."""
    mixture = random_mixture(
        5,
        n_components=2,
        n_columns=3,
        covariance=model,
        eccentricity=0.9,
        least_weight=0.4,
        measure=lambda found: found.average,
        asked=0.02,
    )
    random = np.random.default_rng(2)
    data = np.concatenate(
        [random.multivariate_normal(m, s, 60) for m, s in zip(mixture.locs, mixture.covariances, strict=True)]
    )
    scale = mixture.scales.mean()  # so that steps of one size suit all
    data = data / scale
    mixture = MultivariateMixture(mixture.weights, mixture.locs / scale, mixture.covariances / scale**2)
    mixture_at, n = parametrisation(model, mixture)
    assert n == number_of_parameters(model, 2, 3)
    errors = multivariate_errors(mixture, model, data, np.ones(len(data)))
    compare(errors, errors_by_differences(mixture_at, n, data))


@pytest.mark.parametrize("model", MODELS)
def test_free_numbers_are_those_of_the_model(model):
    everything = np.arange(3)
    free = _moving(_zeros(model, 3, 4), everything, everything, np.array([0.5, 0.2, 0.3]), noise=False)
    assert len(free) == number_of_parameters(model, 3, 4)


def test_errors_do_not_depend_on_blocks_units_or_labels(two, monkeypatch):
    data, mixture = two
    expected = multivariate_errors(mixture, "VVV", data, np.ones(len(data)))
    monkeypatch.setattr("gmm_pipeline.analysis.feature_sums.ELEMENTS_AT_ONCE", 100)
    spreads, order = np.array([100.0, 1e-3]), np.array([1, 0])
    moved = MultivariateMixture(
        mixture.weights, 1e3 + mixture.locs * spreads, mixture.covariances * np.outer(spreads, spreads)
    )
    found = multivariate_errors(taken(moved, order), "VVV", 1e3 + data * spreads, np.ones(len(data)))
    units = (1.0, spreads, np.outer(spreads, spreads), spreads, 1.0)
    for leaf, other, unit in zip(taken(expected, order), found, units, strict=True):
        np.testing.assert_allclose(other, leaf * unit, rtol=1e-6)


def nothing(errors: MultivariateErrors) -> bool:
    return all(np.isnan(leaf).all() for leaf in errors)


def test_what_is_no_maximum_has_no_errors(two):
    data, mixture = two
    ones = np.ones(len(data))
    alike = taken(moments(data), np.array([0, 0]))._replace(weights=np.array([0.5, 0.5]))
    assert nothing(multivariate_errors(alike, "VVV", data, ones))  # a saddle
    for covariance in (np.full((2, 2), np.nan), np.zeros((2, 2)), np.diag([1.0, -1.0])):
        wrong = mixture._replace(covariances=np.stack([mixture.covariances[0], covariance]))
        assert nothing(multivariate_errors(wrong, "VVV", data, ones))
    assert nothing(multivariate_errors(mixture, "VVV", data, ones, degenerate=(0, 1)))


def test_a_degenerate_component_leaves_the_others_errors_as_they_are():
    """Twenty equal data in a component at the floor: the rest is as it would be without them."""
    data, rest = np.concatenate([ONE, np.full((20, 3), 100.0)]), moments(ONE)
    spiked = MultivariateMixture(
        np.array([300, 20]) / 320,
        np.concatenate([rest.locs, np.full((1, 3), 100.0)]),
        np.concatenate([rest.covariances, 1e-6 * np.eye(3)[None]]),
    )
    expected = multivariate_errors(rest, "VVV", ONE, np.ones(300))
    found = multivariate_errors(spiked, "VVV", data, np.ones(320), degenerate=(1,))
    np.testing.assert_allclose(found.weights, np.sqrt(20 * 300 / 320**3), rtol=1e-9)
    for leaf, alone in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(leaf[0], alone[0], rtol=1e-9)
        assert np.isnan(leaf[1]).all()


def test_intervals_are_symmetric_where_estimates_are_nearly_normal(two):
    data, mixture = two
    errors = multivariate_errors(mixture, "VVV", data, np.ones(len(data)))
    lower, upper = multivariate_intervals(mixture, errors, 0.9)
    quantile = stats.norm.ppf(0.95)
    fitted = reported(mixture)
    pairs = ~np.eye(2, dtype=bool)

    def halves(scale, low, middle, high):
        return scale(middle) - scale(low), scale(high) - scale(middle)

    def logit(w):
        return np.log(w / (1 - w))

    for scale, number, slope in ((logit, 0, lambda w: 1 / (w * (1 - w))), (np.log, 3, lambda s: 1 / s)):
        half = quantile * errors[number] * slope(fitted[number])
        for found in halves(scale, lower[number], fitted[number], upper[number]):
            np.testing.assert_allclose(found, half, rtol=1e-9)
    for found in halves(np.arctanh, *(leaf.correlations[:, pairs] for leaf in (lower, fitted, upper))):
        half = quantile * errors.correlations[:, pairs] / (1 - fitted.correlations[:, pairs] ** 2)
        np.testing.assert_allclose(found, half, rtol=1e-9)
    np.testing.assert_allclose(upper.locs - lower.locs, 2 * quantile * errors.locs, rtol=ROUNDING_64)
    np.testing.assert_allclose(upper.correlations[:, ~pairs], 1.0, rtol=ROUNDING_64)
    variances = np.diagonal(upper.covariances, axis1=1, axis2=2)
    np.testing.assert_allclose(variances, upper.scales**2, rtol=1e-9)
