import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_64
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats
from scipy.special import logsumexp

from gmm_pipeline.model import mixture
from gmm_pipeline.model.mixture import Parameters

K_MAX = 3
N = 6  # one length, so that hypothesis compiles a program for each number of components and no more


@st.composite
def mixtures(draw, least: int = 1):
    n_components = draw(st.integers(least, K_MAX))

    def numbers(low, high):
        return arrays(np.float64, n_components, elements=st.floats(low, high))

    return Parameters(draw(numbers(-8, 8)), draw(numbers(-50, 50)), draw(numbers(-3, 3)))


data_sets = arrays(np.float64, N, elements=st.floats(-100, 100))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def by_double_loop(parameters: Parameters, data: np.ndarray) -> float:
    """The same sum with NumPy and SciPy, a datum and a component at a time."""
    weights = np.exp(parameters.log_component_weights) / np.sum(np.exp(parameters.log_component_weights))
    total = 0.0
    for datum in data:
        terms = [
            np.log(weight) + stats.norm.logpdf(datum, mu, np.exp(log_scale))
            for weight, mu, log_scale in zip(weights, parameters[1], parameters[2], strict=True)
        ]
        total += float(np.logaddexp.reduce(terms))
    return total


compiled_loglike = jax.jit(mixture.mixture_loglike)


def loglike(parameters: Parameters, data) -> float:
    return float(compiled_loglike(*parameters, jnp.asarray(data)))


@given(mixtures(), data_sets)
def test_mixture_loglike_equals_a_double_loop(parameters, data):
    np.testing.assert_allclose(loglike(parameters, data), by_double_loop(parameters, data), rtol=1e-10)


@given(st.floats(0.001, 1), st.floats(-50, 50), st.floats(-5, 5), st.floats(-50, 50))
def test_one_component_equals_scipy(weight, mu, log_scale, datum):
    expected = np.log(weight) + stats.norm.logpdf(datum, mu, np.exp(log_scale))
    ours = mixture.loglike_one_component(weight, mu, log_scale, datum)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


@given(mixtures(), data_sets, st.randoms())
def test_permuting_components_changes_nothing(parameters, data, random):
    order = list(range(len(parameters.component_mus)))
    random.shuffle(order)
    permuted = Parameters(*(leaf[order] for leaf in parameters))
    np.testing.assert_allclose(loglike(permuted, data), loglike(parameters, data), rtol=ROUNDING_64)


@given(mixtures(), data_sets, st.floats(-100, 100))
def test_adding_a_constant_to_log_weights_changes_nothing(parameters, data, constant):
    shifted = parameters._replace(log_component_weights=parameters.log_component_weights + constant)
    np.testing.assert_allclose(loglike(shifted, data), loglike(parameters, data), rtol=1e-11)


@given(mixtures(), data_sets)
def test_splitting_a_component_in_two_halves_changes_nothing(parameters, data):
    weights, mus, scales = parameters
    halves = Parameters(
        np.append(weights, weights[0]) - np.log(2) * np.isin(np.arange(len(mus) + 1), [0, len(mus)]),
        np.append(mus, mus[0]),
        np.append(scales, scales[0]),
    )
    np.testing.assert_allclose(loglike(halves, data), loglike(parameters, data), rtol=1e-11)


@given(mixtures(), data_sets, data_sets)
def test_loglike_of_joined_data_is_the_sum(parameters, first, second):
    together = loglike(parameters, np.concatenate([first, second]))  # the one test with 2 N data
    np.testing.assert_allclose(together, loglike(parameters, first) + loglike(parameters, second), rtol=1e-11)


@given(mixtures(), data_sets, st.floats(0.01, 100), st.floats(-1000, 1000))
def test_change_of_units_shifts_by_n_log_a(parameters, data, factor, shift):
    moved = Parameters(
        parameters.log_component_weights,
        factor * parameters.component_mus + shift,
        parameters.log_component_scales + np.log(factor),
    )
    expected = loglike(parameters, data) - len(data) * np.log(factor)
    np.testing.assert_allclose(loglike(moved, factor * data + shift), expected, rtol=1e-6, atol=1e-6)


@given(mixtures(), st.integers(0, 3))
def test_sample_weights_count_repeated_data(parameters, repeats):
    data, counts = np.array([-1.0, 0.5, 3.0]), np.array([1.0, repeats, 2.0])
    weighted = compiled_loglike(*parameters, jnp.asarray(data), jnp.asarray(counts))
    np.testing.assert_allclose(weighted, loglike(parameters, np.repeat(data, counts.astype(int))), rtol=1e-11)


@pytest.mark.parametrize("n_components", [1, 2, 4])
def test_density_integrates_to_one(n_components):
    parameters = Parameters(
        np.arange(n_components) * 0.3, np.linspace(-2, 3, n_components), np.full(n_components, -0.5)
    )
    area, _ = integrate.quad(lambda x: np.exp(loglike(parameters, [x])), -15, 15, points=parameters[1], limit=200)
    np.testing.assert_allclose(area, 1.0, rtol=1e-7)


compiled_responsibilities = jax.jit(mixture.responsibilities)


@given(mixtures(least=2), st.floats(-100, 100))
def test_responsibilities_are_probabilities_of_bayes_rule(parameters, datum):
    ours = np.asarray(compiled_responsibilities(parameters, datum))
    weights = np.exp(parameters.log_component_weights)
    log_joint = np.log(weights / weights.sum()) + stats.norm.logpdf(datum, parameters[1], np.exp(parameters[2]))
    np.testing.assert_allclose(ours, np.exp(log_joint - logsumexp(log_joint)), rtol=1e-8, atol=1e-12)


loss_and_gradient = jax.jit(
    jax.value_and_grad(lambda params, data, alpha: mixture.loss_mixture_weights(params, data, alpha_prior=alpha))
)


@settings(deadline=None)
@given(mixtures())
def test_gradient_equals_finite_differences(parameters):
    data = jnp.asarray([-3.0, 0.1, 2.5])
    alpha = jnp.full(len(parameters.component_mus), 2.0)
    value, gradient = loss_and_gradient(parameters, data, alpha)
    step = 1e-5
    flat = np.concatenate(parameters)
    for direction, slope in zip(np.eye(len(flat)), np.concatenate(gradient), strict=True):
        up, down = (Parameters(*np.split(flat + sign * step * direction, 3)) for sign in (1, -1))
        difference = (loss_and_gradient(up, data, alpha)[0] - loss_and_gradient(down, data, alpha)[0]) / (2 * step)
        # A difference loses half the digits of a loss of this size.
        np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-8 * (1 + abs(float(value))) / step)


def test_far_tails_tiny_weights_and_tiny_scales_stay_finite():
    for dtype in (jnp.float32, jnp.float64):
        extreme = Parameters(
            jnp.array([0.0, -120.0, -130.0], dtype),
            jnp.array([0.0, 1e4, -1e4], dtype),
            jnp.array([-20.0, 0.0, 20.0], dtype),
        )
        for datum in (0.0, 1e4, -1e4, 1e6):
            value, gradient = jax.value_and_grad(lambda p, d: mixture.mixture_loglike(p[0], p[1], p[2], d[None]))(
                extreme, jnp.asarray(datum, dtype)
            )
            assert np.isfinite(value)
            assert all(np.isfinite(leaf).all() for leaf in gradient)


def test_tiny_weights_keep_their_differences():
    with jax.enable_x64(False):
        parameters = Parameters(jnp.array([0.0, -120.0, -130.0]), jnp.zeros(3), jnp.zeros(3))
        terms = mixture.joint_loglikes(parameters, 0.0)
    np.testing.assert_allclose(terms[1] - terms[2], 10.0, rtol=1e-5)


@given(st.lists(st.floats(0.1, 20), min_size=2, max_size=5), st.lists(st.floats(-5, 5), min_size=5, max_size=5))
def test_weights_loglike_equals_scipy_dirichlet(alpha, log_weights):
    log_weights = np.array(log_weights[: len(alpha)])
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    ours = mixture.weights_loglike(jnp.asarray(log_weights), jnp.asarray(alpha))
    np.testing.assert_allclose(ours, stats.dirichlet.logpdf(weights / weights.sum(), alpha), rtol=1e-9, atol=1e-9)


def test_normalize_weights():
    np.testing.assert_allclose(mixture.normalize_weights(jnp.array([1, 5])), [1 / 6, 5 / 6], rtol=ROUNDING_64)


def test_exact_counts_are_exact_and_in_component_order():
    draws, components = mixture.sample_exact_counts(jax.random.key(0), [-100.0, 100.0], [1.0, 2.0], [3, 5])
    assert components.tolist() == [0] * 3 + [1] * 5
    assert (np.sign(draws) == np.where(components == 0, -1, 1)).all()


def test_multinomial_draws_follow_the_mixture():
    weights, locs, scales, n_draws = [0.2, 0.8], [-3.0, 2.0], [0.5, 1.5], 20_000
    draws, components = mixture.sample_multinomial(jax.random.key(1), weights, locs, scales, n_draws)
    four_standard_errors = 4 * np.sqrt(0.2 * 0.8 / n_draws)
    assert abs(np.mean(np.asarray(components) == 0) - 0.2) < four_standard_errors

    def cdf(x):
        return 0.2 * stats.norm.cdf(x, -3, 0.5) + 0.8 * stats.norm.cdf(x, 2, 1.5)

    assert stats.kstest(np.asarray(draws), cdf).pvalue > 1e-4


@given(mixtures())
def test_constrain_gives_weights_that_sum_to_one(parameters):
    natural = mixture.constrain(parameters)
    np.testing.assert_allclose(natural.weights.sum(), 1.0, rtol=ROUNDING_64)
    np.testing.assert_allclose(natural.weights, jax.nn.softmax(parameters[0]), rtol=1e-9)
    np.testing.assert_allclose(np.log(natural.scales), parameters[2], rtol=1e-9, atol=1e-12)
