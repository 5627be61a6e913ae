from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_64
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, special, stats

from gmm_pipeline.analysis import likelihood_sums
from gmm_pipeline.analysis import uncertainty as module
from gmm_pipeline.analysis.likelihood_sums import information
from gmm_pipeline.analysis.uncertainty import Peak, Uncertainty, in_user_units, intervals, uncertainty
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.scaling import Scaling, to_fit_units, to_user_units
from gmm_pipeline.model import mixture, priors
from gmm_pipeline.model.mixture import Mixture, Parameters

RANDOM = np.random.default_rng(3)
DATA = np.concatenate([RANDOM.normal(-2, 1, 100), RANDOM.normal(3, 2, 300)])
ONES = np.ones(400)
FLAT = Plugin(priors.flat, ())


def natural(parameters: Parameters) -> np.ndarray:
    return np.concatenate(mixture.constrain(parameters))


def errors_of(
    parameters: Parameters,
    data: Any = DATA,
    sample_weights: Any = None,
    *,
    log_prior=FLAT,
    floats=None,
    equal_scales=False,
    degenerate=(),
) -> Uncertainty:
    counts = np.ones(len(data)) if sample_weights is None else sample_weights
    return uncertainty(Peak(parameters, data, counts, log_prior, floats or {}, equal_scales, degenerate))


def maximum_likelihood(start: Mixture, *, equal_scales: bool, pseudo_counts: float = 0.0) -> Parameters:
    """EM in NumPy, to rounding."""
    weights, locs, scales = (np.asarray(leaf, float)[:, None] for leaf in start)
    for _ in range(5000):
        joint = weights * stats.norm.pdf(DATA, locs, scales)
        r = joint / joint.sum(axis=0)
        counts = r.sum(axis=1, keepdims=True)
        weights = (counts + pseudo_counts) / (counts + pseudo_counts).sum()
        locs = (r @ DATA)[:, None] / counts
        squares = np.sum(r * (DATA - locs) ** 2, axis=1, keepdims=True)
        scales = np.sqrt(squares.sum() / 400) * np.ones_like(scales) if equal_scales else np.sqrt(squares / counts)
    return Parameters(np.log(weights[:, 0]), locs[:, 0], np.log(scales[:, 0]))


@pytest.fixture(scope="module")
def free() -> Parameters:
    return maximum_likelihood(Mixture(*map(np.array, ([0.3, 0.7], [-2.0, 3.0], [1.0, 2.0]))), equal_scales=False)


@pytest.fixture(scope="module")
def equal() -> Parameters:
    return maximum_likelihood(Mixture(*map(np.array, ([0.3, 0.7], [-2.0, 3.0], [1.0, 1.0]))), equal_scales=True)


@st.composite
def mixtures(draw):
    def numbers(low, high):
        return arrays(np.float64, 3, elements=st.floats(low, high))

    return Parameters(draw(numbers(-4, 4)), draw(numbers(-5, 5)), draw(numbers(-1, 1)))


data_sets = arrays(np.float64, 12, elements=st.floats(-8, 8))
counts = arrays(np.float64, 12, elements=st.floats(0, 3))


@jax.jit
def plain_hessian(values, data, sample_weights):
    def loglike(values):
        log_weights, mus, log_scales = jnp.split(values, 3)
        return mixture.mixture_loglike(log_weights, mus, log_scales, data, sample_weights)

    return jax.hessian(loglike)(values)


@given(mixtures(), data_sets, counts)
def test_information_equals_autodiff_of_the_plain_log_likelihood(parameters, data, sample_weights):
    with jax.enable_x64(True):
        expected = -np.asarray(plain_hessian(np.concatenate(parameters), data, sample_weights))
    complete, missing = information(parameters, data, sample_weights)
    # Fourth powers of z are subtracted from each other, in both.
    largest = 1.0 + np.abs(complete).max() + np.abs(missing).max()
    np.testing.assert_allclose(complete - missing, expected, rtol=0, atol=ROUNDING_64 * largest)


def test_information_does_not_depend_on_blocks(monkeypatch, free):
    whole = information(free, DATA, ONES)
    monkeypatch.setattr(likelihood_sums, "DATA_AT_ONCE", 7)
    for part, of_blocks in zip(whole, information(free, DATA, ONES), strict=True):
        np.testing.assert_allclose(of_blocks, part, rtol=0, atol=ROUNDING_64 * np.abs(part).max())


def test_one_component_has_the_standard_errors_of_the_textbook():
    parameters = Parameters(np.zeros(1), np.array([DATA.mean()]), np.log([DATA.std()]))
    for equal_scales in (True, False):
        errors = errors_of(parameters, equal_scales=equal_scales).standard_errors
        np.testing.assert_allclose(errors.locs, DATA.std() / np.sqrt(400), rtol=ROUNDING_64)
        np.testing.assert_allclose(errors.scales, DATA.std() / np.sqrt(800), rtol=ROUNDING_64)
        np.testing.assert_array_equal(errors.weights, 0.0)


def errors_by_finite_differences(best: np.ndarray, negative_loglike) -> np.ndarray:
    """In natural parameters throughout, so that no delta method is needed; good to 1e-4, by steps of 1e-3."""
    step = 1e-3 * np.eye(len(best))
    hessian = [
        [sum(s * t * negative_loglike(best + s * a + t * b) for s in (1, -1) for t in (1, -1)) / 4e-6 for b in step]
        for a in step
    ]
    return np.sqrt(np.diag(np.linalg.inv(hessian)))


def minus_loglike(weight: float, locs: np.ndarray, scales: np.ndarray) -> float:
    parts = [
        np.log(w) + stats.norm.logpdf(DATA, m, s) for w, m, s in zip((weight, 1 - weight), locs, scales, strict=True)
    ]
    return -np.logaddexp(*parts).sum()


def test_two_components_have_the_standard_errors_of_a_numerical_hessian(free):
    best = natural(free)[[0, 2, 3, 4, 5]]
    expected = errors_by_finite_differences(best, lambda v: minus_loglike(v[0], v[1:3], v[3:5]))
    errors, positive_definite, _ = errors_of(free)
    assert positive_definite
    np.testing.assert_allclose(np.concatenate(errors), expected[[0, 0, 1, 2, 3, 4]], rtol=1e-4)


def test_equal_scales_are_one_parameter(equal):
    best = natural(equal)[[0, 2, 3, 4]]
    expected = errors_by_finite_differences(best, lambda v: minus_loglike(v[0], v[1:3], v[[3, 3]]))
    errors = errors_of(equal, equal_scales=True).standard_errors
    np.testing.assert_allclose(np.concatenate(errors), expected[[0, 0, 1, 2, 3, 3]], rtol=1e-4)


def known_loc(parameters, *, centre, spread):
    return -0.5 * jnp.sum((parameters.component_mus - centre) ** 2) / spread**2


@pytest.mark.parametrize("varying", [(), ("spread",), ("centre", "spread")])
def test_a_prior_adds_its_own_information(varying):
    given_values = {"centre": float(DATA.mean()), "spread": 0.1}
    log_prior = Plugin(known_loc, tuple(given_values.items())).without(varying)
    parameters = Parameters(np.zeros(1), np.array([DATA.mean()]), np.log([DATA.std()]))
    floats = {name: given_values[name] for name in varying}
    errors = errors_of(parameters, log_prior=log_prior, floats=floats).standard_errors
    np.testing.assert_allclose(errors.locs, 1 / np.sqrt(400 / DATA.var() + 1 / 0.1**2), rtol=ROUNDING_64)
    np.testing.assert_allclose(errors.scales, DATA.std() / np.sqrt(800), rtol=ROUNDING_64)


def test_a_dirichlet_prior_counts_as_so_many_more_data():
    data = np.concatenate([np.linspace(-1, 1, 30), 1000 + np.linspace(-2, 2, 70)])
    share = (30 + 2) / (100 + 4)  # α − 1 = 2 more in each of two components
    parameters = Parameters(
        np.log([share, 1 - share]), np.array([0.0, 1000.0]), np.log([data[:30].std(), data[30:].std()])
    )
    log_prior = Plugin(priors.dirichlet, (("concentration", 3.0),))
    errors = errors_of(parameters, data, log_prior=log_prior).standard_errors
    np.testing.assert_allclose(errors.weights, np.sqrt(share * (1 - share) / 104), rtol=ROUNDING_64)
    np.testing.assert_allclose(errors.locs, np.exp(parameters[2]) / np.sqrt([30, 70]), rtol=ROUNDING_64)


def skewed(parameters, active, *, strength):
    """Of everything at once, and not the same in all components."""
    log_weights = jax.nn.log_softmax(jnp.where(active, parameters.log_component_weights, -1e9))
    each = log_weights * jnp.exp(-parameters.log_component_scales) + parameters.component_mus**3 * log_weights
    return strength * jnp.sum(jnp.where(active, each, 0.0))


@pytest.mark.parametrize(
    ("prior", "name", "n_components"),
    [*((skewed, "strength", n) for n in (1, 3, 8, 9)), *((priors.dirichlet, "concentration", n) for n in (1, 4))],
)
def test_the_information_of_a_prior_is_minus_its_hessian_whatever_the_room(prior, name, n_components):
    values = np.random.default_rng(2).normal(size=3 * n_components)
    parameters = Parameters(*np.split(values, 3))
    found = module.prior_information(parameters, Plugin(prior, ((name, 0.0),)), {name: 2.7})
    with jax.enable_x64(True):
        all_active = jnp.ones(n_components, bool)
        hessian = jax.jit(jax.hessian(lambda v: prior(Parameters(*jnp.split(v, 3)), all_active, **{name: 2.7})))
        expected = hessian(values)
    np.testing.assert_allclose(found, -np.asarray(expected), rtol=0, atol=1e-10)


def test_sample_weights_are_counts(free):
    repeats = np.random.default_rng(0).integers(0, 4, 400)
    weighted = errors_of(free, DATA, repeats.astype(float))
    repeated = errors_of(free, np.repeat(DATA, repeats))
    np.testing.assert_allclose(
        np.concatenate(weighted.standard_errors), np.concatenate(repeated.standard_errors), rtol=1e-9
    )


def test_a_fit_in_float32_is_judged_in_float64(free):
    rounded = Parameters(*(np.asarray(leaf, np.float32) for leaf in free))
    found = errors_of(rounded, DATA.astype(np.float32), ONES.astype(np.float32)).standard_errors
    # As far as the rounding of parameters and data goes, and no sums on top of it.
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(errors_of(free).standard_errors), rtol=1e-6)
    assert all(leaf.dtype == np.float64 for leaf in found)


@pytest.mark.parametrize("scaling", [Scaling(1e6, 1e-3), Scaling(-5.0, 1e6), Scaling(0.0, 1e-6)])
@pytest.mark.parametrize("equal_scales", [True, False])
def test_a_change_of_units_changes_nothing_but_the_units(free, equal, scaling, equal_scales):
    fit = equal if equal_scales else free
    in_their_units = scaling.centre + scaling.spread * DATA
    direct = errors_of(to_user_units(fit, scaling), in_their_units, equal_scales=equal_scales).standard_errors
    by_map = in_user_units(
        errors_of(fit, to_fit_units(in_their_units, scaling), equal_scales=equal_scales).standard_errors, scaling
    )
    np.testing.assert_allclose(np.concatenate(direct), np.concatenate(by_map), rtol=1e-6)


@given(st.floats(-100, 100), st.booleans())
def test_order_of_components_and_a_constant_in_log_weights_change_nothing(constant, equal_scales):
    data = np.concatenate([np.linspace(-4, 0, 60), np.linspace(2, 9, 140), np.linspace(14, 16, 80)])
    fit = Parameters(np.log([0.2, 0.5, 0.3]), np.array([-2.0, 5.5, 15.0]), np.log([2.0, 2.0, 2.0]))
    expected = errors_of(fit, data, equal_scales=equal_scales)
    moved = Parameters(fit[0][[2, 0, 1]] + constant, fit[1][[2, 0, 1]], fit[2][[2, 0, 1]])
    found = errors_of(moved, data, equal_scales=equal_scales)
    assert found.positive_definite == expected.positive_definite
    for ours, theirs in zip(found.standard_errors, expected.standard_errors, strict=True):
        np.testing.assert_allclose(ours, theirs[[2, 0, 1]], rtol=1e-9)


def nan_everywhere(found: Uncertainty) -> bool:
    return not found.positive_definite and bool(np.isnan(np.concatenate(found.standard_errors)).all())


WRONG = {
    "diverged": Parameters(np.zeros(2), np.array([np.nan, 0.0]), np.zeros(2)),
    "infinite": Parameters(np.zeros(2), np.array([np.inf, 0.0]), np.zeros(2)),
    "components alike": Parameters(np.zeros(2), np.full(2, DATA.mean()), np.log(np.full(2, DATA.std()))),
    "no optimum": Parameters(np.zeros(2), np.zeros(2), np.full(2, 3.0)),
    "collapsed": Parameters(np.zeros(2), np.array([DATA[0], 2.0]), np.array([-30.0, 1.0])),
    "collapsed to nothing": Parameters(np.zeros(2), np.array([DATA[0], 2.0]), np.array([-2000.0, 1.0])),
    "endless": Parameters(np.zeros(2), np.array([0.0, 2.0]), np.array([2000.0, 1.0])),
    "empty component": Parameters(np.array([0.0, -1e9]), np.array([DATA.mean(), 0.0]), np.log([DATA.std(), 1.0])),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("log_prior", [FLAT, Plugin(priors.dirichlet, (("concentration", 1.0),))])
def test_a_fit_that_went_wrong_has_no_errors_and_raises_nothing(name, log_prior):
    assert nan_everywhere(errors_of(WRONG[name], log_prior=log_prior))


@pytest.mark.parametrize("name", ["diverged", "components alike", "no optimum"])
def test_a_fit_of_equal_scales_that_went_wrong_has_no_errors(name):
    assert nan_everywhere(errors_of(WRONG[name], equal_scales=True))


def test_without_a_sound_component_there_are_no_errors(free):
    assert nan_everywhere(errors_of(free, degenerate=(0, 1)))


@pytest.mark.parametrize("log_weight", [-40.0, -1e9])
def test_an_empty_component_leaves_the_others_errors_as_they_are(free, log_weight):
    """Its weight is far below rounding, so that the others are the fit without it."""
    with_empty = Parameters(
        *(np.insert(leaf, 1, value) for leaf, value in zip(free, (log_weight, 0.0, 0.0), strict=True))
    )
    for equal_scales in (True, False):
        expected = errors_of(free, equal_scales=equal_scales).standard_errors
        found, positive_definite, _ = errors_of(with_empty, degenerate=(1,), equal_scales=equal_scales)
        assert positive_definite
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, [theirs[0], np.nan, theirs[1]], rtol=1e-9)


def test_a_spike_has_a_weight_of_binomial_error_and_leaves_the_rest_as_it_is():
    """Twenty equal data in a component at the floor: the rest is as it would be without them."""
    data = np.concatenate([DATA, np.full(20, 100.0)])
    rest = Parameters(np.zeros(1), np.array([DATA.mean()]), np.log([DATA.std()]))
    with_spike = Parameters(np.log([400 / 420, 20 / 420]), np.append(rest[1], 100.0), np.append(rest[2], np.log(1e-3)))
    found = errors_of(with_spike, data, degenerate=(1,)).standard_errors
    np.testing.assert_allclose(found.locs, [DATA.std() / 20, np.nan], rtol=ROUNDING_64)
    np.testing.assert_allclose(found.scales, [DATA.std() / np.sqrt(800), np.nan], rtol=ROUNDING_64)
    # Whether one more datum had been of the spike is a coin toss.
    np.testing.assert_allclose(found.weights, np.full(2, np.sqrt(20 * 400 / 420**3)), rtol=ROUNDING_64)


def test_the_weight_of_a_spike_among_others_has_the_error_of_a_numerical_hessian():
    """Data of the rest lie at the spike too, so that its weight is less sure than a count of them."""
    data = np.concatenate([np.linspace(-3, 3, 200), np.full(50, 0.5)])
    locs, scales = np.array([0.0, 0.5]), np.array([1.8, 0.05])

    def minus_loglike(values):
        weight, loc, scale = values
        rest, spike = stats.norm.pdf(data, loc, scale), stats.norm.pdf(data, locs[1], scales[1])
        return -np.sum(np.log((1 - weight) * rest + weight * spike))

    best = optimize.minimize(minus_loglike, [0.2, 0.0, 1.8], method="Nelder-Mead", tol=1e-12).x
    fit = Parameters(np.log([1 - best[0], best[0]]), np.array([best[1], locs[1]]), np.log([best[2], scales[1]]))
    expected = errors_by_finite_differences(best, minus_loglike)
    found = errors_of(fit, data, degenerate=(1,)).standard_errors
    np.testing.assert_allclose([*found.weights, found.locs[0], found.scales[0]], expected[[0, 0, 1, 2]], rtol=1e-4)
    assert found.weights[0] > np.sqrt(best[0] * (1 - best[0]) / len(data))


def test_a_weight_that_nothing_can_vary_against_has_no_error_rather_than_one_of_zero():
    with_empty = Parameters(np.array([0.0, -40.0]), np.array([DATA.mean(), 0.0]), np.log([DATA.std(), 1.0]))
    found = errors_of(with_empty, degenerate=(1,)).standard_errors
    assert np.isnan(found.weights).all()
    np.testing.assert_allclose(found.locs[0], DATA.std() / 20, rtol=1e-9)


FITTED = Mixture(np.array([0.02, 0.98]), np.array([-1.0, 2.0]), np.array([0.1, 3.0]))
ERRORS = Mixture(np.array([0.03, 0.03]), np.array([0.5, 0.25]), np.array([0.2, 1.0]))


def test_intervals_are_symmetric_on_the_scale_of_each_parameter():
    lower, upper = intervals(FITTED, ERRORS, 0.95)
    z = stats.norm.ppf(0.975)
    for ends, sign in ((lower, -1), (upper, 1)):
        on_logit = special.logit(FITTED.weights) + sign * z * ERRORS.weights / (FITTED.weights * (1 - FITTED.weights))
        np.testing.assert_allclose(ends.weights, special.expit(on_logit), rtol=1e-9)
        np.testing.assert_allclose(ends.locs, FITTED.locs + sign * z * ERRORS.locs, rtol=ROUNDING_64)
        np.testing.assert_allclose(ends.scales, FITTED.scales * np.exp(sign * z * ERRORS.scales / FITTED.scales))


@given(st.floats(0.01, 0.999), st.floats(1e-6, 10.0))
def test_intervals_stay_in_range_and_hold_the_estimate(level, size):
    lower, upper = intervals(FITTED, Mixture(*(size * errors for errors in ERRORS)), level)
    for low, middle, high in zip(lower, FITTED, upper, strict=True):
        assert np.all(low <= middle)
        assert np.all(middle <= high)
    assert np.all(lower.weights >= 0)
    assert np.all(upper.weights <= 1)
    assert np.all(lower.scales >= 0)


def test_intervals_of_no_error_and_of_undefined_ones():
    alone = Mixture(np.ones(1), np.zeros(1), np.ones(1))
    lower, upper = intervals(alone, Mixture(np.zeros(1), np.full(1, 0.1), np.full(1, np.nan)), 0.9)
    assert lower.weights == upper.weights == 1.0
    assert np.isnan([lower.scales, upper.scales]).all()
    assert lower.locs < 0 < upper.locs


def test_intervals_hold_the_truth_as_often_as_they_say():
    """One component, where a fit is the sample's mean and standard deviation."""
    draws = np.random.default_rng(5).normal(3.0, 2.0, (1000, 50))
    held = np.zeros(2)
    for data in draws:
        fitted = Mixture(np.ones(1), np.array([data.mean()]), np.array([data.std()]))
        errors = errors_of(Parameters(np.zeros(1), fitted.locs, np.log(fitted.scales)), data).standard_errors
        lower, upper = intervals(fitted, errors, 0.95)
        held += [lower.locs[0] < 3 < upper.locs[0], lower.scales[0] < 2 < upper.scales[0]]
    # Four standard errors of a share of 1,000, and a little that 50 data lack of the limit.
    np.testing.assert_allclose(held / 1000, 0.95, atol=4 * np.sqrt(0.95 * 0.05 / 1000) + 0.01)
