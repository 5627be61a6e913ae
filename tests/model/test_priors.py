# Hyperparameters are unpacked from a dict, which might name the setting.
# pyright: reportArgumentType=false

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from conftest import ROOT, ROUNDING_64
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, optimize, stats

from gmm_pipeline.errors import InputError
from gmm_pipeline.model import densities, priors, sticks
from gmm_pipeline.model.mixture import Parameters, mixture_loglike

K_MAX = 5

WEAKLY = {"concentration": 1.5, "loc": 0.2, "loc_scale": 1.7, "scale_shape": 2.5, "scale_scale": 0.8}
CONJUGATE = {"loc": 0.2, "shrinkage": 0.3, "degrees_of_freedom": 4.0, "variance": 1.4}
HALF = {"loc": -0.3, "loc_scale": 1.7, "scale_scale": 0.9}
WISHART = {"shrinkage": 0.3, "extra_degrees_of_freedom": 3.0, "variance": 1.4}
PENALTY = {"strength": 0.05, "variance": 1.3}
PROCESS = {
    "concentration": 1.3,
    "concentration_shape": 2.0,
    "concentration_rate": 0.7,
    "loc": 0.1,
    "loc_scale": 1.2,
    "scale_shape": 1.5,
    "scale_scale": 2.0,
}
EVERY = {
    priors.flat: {},
    priors.dirichlet: {"concentration": 1.7},
    priors.weakly_informative: WEAKLY,
    priors.normal_inverse_gamma: CONJUGATE,
    priors.normal_inverse_wishart: WISHART,
    priors.normal_half_normal: HALF,
    priors.lkj: {**WEAKLY, "correlation_shape": 1.7},
    priors.variance_penalty: PENALTY,
    priors.dirichlet_process: PROCESS,
}
HYPERPARAMETERS = [(prior, name) for prior, given_ in EVERY.items() for name in given_]
each_prior = pytest.mark.parametrize("prior", EVERY, ids=lambda prior: prior.__name__)


@st.composite
def mixtures(draw):
    n_components = draw(st.integers(1, K_MAX))

    def numbers(low, high):
        return arrays(np.float64, n_components, elements=st.floats(low, high))

    return Parameters(draw(numbers(-8, 8)), draw(numbers(-5, 5)), draw(numbers(-3, 2)))


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def compiled(prior):
    return jax.jit(jax.value_and_grad(functools.partial(prior, **EVERY[prior])))


def value_of(prior, parameters: Parameters) -> float:
    return float(compiled(prior)(parameters, np.ones(len(parameters.component_mus), bool))[0])


def probabilities(parameters: Parameters) -> np.ndarray:
    relative = np.exp(parameters.log_component_weights - np.max(parameters.log_component_weights))
    return relative / relative.sum()


def test_every_prior_of_the_module_is_tested():
    def first(function):
        return next(iter(inspect.signature(function).parameters), None)

    public = {
        function
        for name, function in vars(priors).items()
        if not name.startswith("_")
        and inspect.isfunction(function)
        and first(function) == "parameters"
        and function.__module__ == priors.__name__
    }
    assert public == set(EVERY)


def test_every_file_gives_a_prior_of_the_module_all_that_it_takes():
    for path in (ROOT / "conf" / "prior").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        prior = getattr(priors, content.pop("_target_").removeprefix("gmm_pipeline.model.priors."))
        assert set(content) == set(EVERY[prior]), path.name
        assert all(type(value) is float for value in content.values()), path.name


# The formulas, written again with SciPy.


@given(mixtures())
def test_weakly_informative_equals_scipy(parameters):
    weights, scales = probabilities(parameters), np.exp(parameters.log_component_scales)
    expected = stats.norm.logpdf(parameters.component_mus, 0.2, 1.7).sum()
    expected += stats.invgamma.logpdf(scales, 2.5, scale=0.8).sum()
    if len(weights) > 1:
        expected += stats.dirichlet.logpdf(weights, np.full(len(weights), 1.5))
    np.testing.assert_allclose(value_of(priors.weakly_informative, parameters), expected, rtol=1e-9, atol=1e-9)


@given(mixtures())
def test_normal_inverse_gamma_equals_scipy(parameters):
    scales = np.exp(parameters.log_component_scales)
    expected = stats.norm.logpdf(parameters.component_mus, 0.2, scales / math.sqrt(0.3)).sum()
    expected += stats.invgamma.logpdf(scales**2, 4.0 / 2, scale=1.4 / len(scales) ** 2 / 2).sum()
    np.testing.assert_allclose(value_of(priors.normal_inverse_gamma, parameters), expected, rtol=1e-9, atol=1e-9)


@given(mixtures())
def test_normal_half_normal_equals_scipy(parameters):
    expected = stats.norm.logpdf(parameters.component_mus, -0.3, 1.7).sum()
    expected += stats.halfnorm.logpdf(np.exp(parameters.log_component_scales), scale=0.9).sum()
    np.testing.assert_allclose(value_of(priors.normal_half_normal, parameters), expected, rtol=1e-9, atol=1e-9)


@given(mixtures())
def test_variance_penalty_is_that_of_the_paper(parameters):
    variances = np.exp(parameters.log_component_scales) ** 2
    expected = -0.05 * np.sum(1.3 / variances + np.log(variances / 1.3))
    np.testing.assert_allclose(value_of(priors.variance_penalty, parameters), expected, rtol=1e-9, atol=1e-12)


@given(mixtures())
def test_dirichlet_process_equals_scipy_times_the_measure_of_the_unconstrained_numbers(parameters):
    weights, scales = np.sort(probabilities(parameters))[::-1], np.exp(parameters.log_component_scales)
    rests = np.cumsum(weights[::-1])[::-1]
    shares, log_kept = weights[:-1] / rests[:-1], np.log(rests[1:] / rests[:-1])
    # log Beta(v | 1, α) + log v (1 − v), with log(1 − v) of the sums themselves, since 1 − v rounds to 0.
    expected = np.sum(np.log(1.3) + (1.3 - 1) * log_kept + np.log(shares) + log_kept)
    ordinary = shares[log_kept > math.log(1e-6)]
    np.testing.assert_allclose(
        stats.beta.logpdf(ordinary, 1, 1.3), np.log(1.3) + 0.3 * np.log1p(-ordinary), rtol=1e-9, atol=1e-12
    )
    expected += stats.gamma.logpdf(1.3, 2.0, scale=1 / 0.7) + np.log(1.3)
    expected += stats.norm.logpdf(parameters.component_mus, 0.1, 1.2).sum()
    expected += (stats.invgamma.logpdf(scales, 1.5, scale=2.0) + np.log(scales)).sum()
    np.testing.assert_allclose(value_of(priors.dirichlet_process, parameters), expected, rtol=1e-9, atol=1e-9)


# Densities have an area of one.


@pytest.mark.parametrize(
    ("density", "measure"),
    [
        (lambda x: densities.log_normal_density(x, loc=0.3, scale=0.7), 0),
        (lambda log_x: densities.log_half_normal_density(log_x, scale=0.7), 1),
        (lambda log_x: densities.log_inverse_gamma_density(log_x, shape=2.5, scale=0.8), 1),
        (lambda log_x: densities.log_gamma_density(log_x, shape=2.5, rate=0.8), 1),
        (lambda logit: densities.log_stick_density(logit, concentration=2.5), 0),
        (lambda logit: densities.log_stick_density(logit, concentration=0.4), 0),
    ],
)
def test_densities_integrate_to_one(density, measure):
    """Over the logarithm where they are of a positive number, with dx = x d log x."""
    density = jax.jit(density)
    area, _ = integrate.quad(lambda x: np.exp(float(density(x)) + measure * x), -60, 60, points=[-3, 0, 3], limit=300)
    np.testing.assert_allclose(area, 1.0, rtol=1e-7)


def area_of_loc_and_scale(prior, measure: int) -> float:
    """Of a prior on one component, over its loc and log scale."""
    value = jax.jit(jax.vmap(lambda mu, log_scale: prior(Parameters(jnp.zeros(1), mu[None], log_scale[None]))))
    log_scales = np.linspace(-14, 14, 2801)
    z = np.linspace(-14, 14, 281)
    # The conjugate prior has locs whose spread is that of their component.
    spreads = np.exp(log_scales) if measure == 2 else np.ones_like(log_scales)
    mus = 0.2 + spreads[:, None] * z
    logs = np.asarray(value(mus.ravel(), np.repeat(log_scales, len(z)))).reshape(mus.shape)
    areas = np.exp(logs + measure * log_scales[:, None]) * spreads[:, None]
    return float(np.trapezoid(np.trapezoid(areas, z, axis=1), log_scales))


@pytest.mark.parametrize(
    ("prior", "hyperparameters", "measure", "rest"),
    [
        (priors.weakly_informative, WEAKLY, 1, 0.0),
        (priors.normal_inverse_gamma, {**CONJUGATE, "shrinkage": 1.0}, 2, math.log(2)),
        (priors.normal_half_normal, HALF, 1, 0.0),
        (priors.dirichlet_process, PROCESS, 0, -stats.gamma.logpdf(1.3, 2.0, scale=1 / 0.7) - math.log(1.3)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_priors_of_loc_and_scale_integrate_to_one(prior, hyperparameters, measure, rest):
    """A density of σ has measure σ d log σ, of σ² 2σ² d log σ; what is left of other parameters is constant."""
    area = area_of_loc_and_scale(lambda one: prior(one, np.ones(1, bool), **hyperparameters), measure)
    np.testing.assert_allclose(area * math.exp(rest), 1.0, rtol=1e-4)


def test_dirichlet_process_integrates_to_one_over_sticks_and_concentration():
    """Over two logits in each order of the three weights: the ordered density is taken by 3! labels of a mixture."""
    value = jax.jit(
        jax.vmap(
            lambda logits, log_alpha: priors.dirichlet_process(
                Parameters(sticks.log_stick_breaking_weights(jnp.append(logits, 0.0)), jnp.zeros(3), jnp.zeros(3)),
                np.ones(3, bool),
                **{**PROCESS, "concentration": jnp.exp(log_alpha)},
            )
        )
    )
    grid, log_alphas = np.linspace(-25, 25, 201), np.linspace(-9, 4, 40)
    logits = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    rest = 3 * (stats.norm.logpdf(0, 0.1, 1.2) + stats.invgamma.logpdf(1, 1.5, scale=2.0))
    weights = np.asarray(jax.vmap(lambda two: sticks.stick_breaking_weights(jnp.append(two, 0.0)))(logits))
    decreasing = (np.diff(weights, axis=1) <= 0).all(axis=1)

    def one_order(log_alpha: float) -> float:
        """The area in which weights decrease already: the probability under the process that they do."""
        logs = np.asarray(value(logits, np.full(len(logits), log_alpha)))
        return np.where(decreasing, np.exp(logs - rest), 0.0).sum() * (grid[1] - grid[0]) ** 2

    areas = np.array([one_order(log_alpha) for log_alpha in log_alphas])
    rng = np.random.default_rng(0)
    alphas = rng.gamma(2.0, 1 / 0.7, 200_000)
    first, second = rng.beta(1, alphas), rng.beta(1, alphas)
    drawn = np.array([first, (1 - first) * second, (1 - first) * (1 - second)])
    expected = (np.diff(drawn, axis=0) <= 0).all(axis=0).mean()
    np.testing.assert_allclose(np.trapezoid(areas, log_alphas), expected, atol=0.01)


# What the densities mean for an estimate.


@pytest.mark.parametrize("concentration", [0.3, 1.0, 4.0])
def test_the_most_probable_stick_is_one_over_one_plus_concentration(concentration):
    slope = jax.grad(lambda logit: densities.log_stick_density(logit, concentration=concentration))
    mode = optimize.root_scalar(lambda logit: float(slope(logit)), bracket=(-30, 30), xtol=1e-12).root
    np.testing.assert_allclose(1 / (1 + math.exp(-mode)), 1 / (1 + concentration), rtol=1e-9)


def test_conjugate_prior_adds_pseudo_data_as_mclust_says():
    """One component: the mode of the posterior in closed form (Fraley & Raftery 2007, table 1, in one dimension)."""
    data = np.random.default_rng(0).normal(0.7, 1.3, 12)
    active = np.ones(1, bool)

    def loss(flat):
        one = Parameters(jnp.zeros(1), flat[:1], flat[1:])
        return -(mixture_loglike(*one, data) + priors.normal_inverse_gamma(one, active, **CONJUGATE))

    found = optimize.minimize(jax.jit(jax.value_and_grad(loss)), np.zeros(2), jac=True, method="BFGS", tol=1e-10)
    loc, kappa, nu, variance = CONJUGATE.values()
    mu = (data.sum() + kappa * loc) / (len(data) + kappa)
    between = kappa * len(data) / (kappa + len(data)) * (data.mean() - loc) ** 2
    squares = variance + between + ((data - data.mean()) ** 2).sum()
    np.testing.assert_allclose(found.x[0], mu, rtol=1e-6)
    np.testing.assert_allclose(np.exp(2 * found.x[1]), squares / (nu + len(data) + 3), rtol=1e-6)


@pytest.mark.parametrize("prior", [priors.weakly_informative, priors.normal_inverse_gamma, priors.variance_penalty])
def test_a_component_that_collapses_on_one_datum_loses_more_than_it_gains(prior):
    active = np.ones(2, bool)

    @jax.jit
    def log_posterior(log_scale):
        one = Parameters(jnp.zeros(2), jnp.zeros(2), jnp.stack([jnp.zeros_like(log_scale), log_scale]))
        return mixture_loglike(*one, np.array([0.0, 1.0, -2.0])) + prior(one, active, **EVERY[prior])

    values = [float(log_posterior(log_scale)) for log_scale in (-3.0, -5.0, -8.0, -12.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < -1e5


@given(mixtures(), st.randoms())
@each_prior
def test_permuting_components_changes_nothing(prior, parameters, random):
    order = list(range(len(parameters.component_mus)))
    random.shuffle(order)
    permuted = Parameters(*(leaf[order] for leaf in parameters))
    value = value_of(prior, parameters)
    np.testing.assert_allclose(value_of(prior, permuted), value, rtol=ROUNDING_64, atol=1e-11)


@given(mixtures(), st.floats(-100, 100))
@each_prior
def test_adding_a_constant_to_log_weights_changes_nothing(prior, parameters, constant):
    shifted = parameters._replace(log_component_weights=parameters.log_component_weights + constant)
    np.testing.assert_allclose(value_of(prior, shifted), value_of(prior, parameters), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("filling", [0.0, 7.0, -1e9, np.nan, np.inf, -np.inf])
@settings(max_examples=20)
@given(parameters=mixtures())
@each_prior
def test_components_that_do_not_count_change_neither_value_nor_gradient(prior, filling, parameters):
    n_components = len(parameters.component_mus)
    rest = np.full(K_MAX + 2 - n_components, filling)
    padded = Parameters(*(np.append(leaf, rest) for leaf in parameters))
    value, slope = compiled(prior)(padded, np.arange(K_MAX + 2) < n_components)
    own_value, own_slope = compiled(prior)(parameters, np.ones(n_components, bool))
    np.testing.assert_allclose(value, own_value, rtol=1e-11, atol=1e-11)
    for leaf, own in zip(slope, own_slope, strict=True):
        np.testing.assert_allclose(leaf[:n_components], own, rtol=1e-9, atol=1e-9)
        assert (np.asarray(leaf[n_components:]) == 0).all()


@given(mixtures())
@each_prior
def test_gradient_equals_finite_differences(prior, parameters):
    n_components = len(parameters.component_mus)
    active = np.ones(n_components, bool)
    step = 1e-5
    # The order of sticks has a kink where two weights are equal.
    distinct = parameters._replace(
        log_component_weights=np.round(parameters.log_component_weights, 2) + 0.001 * np.arange(n_components)
    )
    _, slope = compiled(prior)(distinct, active)
    flat = np.concatenate(distinct)
    for direction, ours in zip(np.eye(len(flat)), np.concatenate(slope), strict=True):
        up, down = (Parameters(*np.split(flat + sign * step * direction, 3)) for sign in (1, -1))
        difference = (value_of(prior, up) - value_of(prior, down)) / (2 * step)
        np.testing.assert_allclose(ours, difference, rtol=1e-5, atol=1e-6)


def test_concentration_has_the_gradient_of_finite_differences():
    random = np.random.default_rng(3)
    parameters, active = Parameters(*random.normal(size=(3, 5))), np.ones(5, bool)
    rest = {name: value for name, value in PROCESS.items() if name != "concentration"}

    def of_log(log_alpha):
        return priors.dirichlet_process(parameters, active, concentration=jnp.exp(log_alpha), **rest)

    for log_alpha in (-2.0, 0.3, 3.0):
        difference = (of_log(log_alpha + 1e-5) - of_log(log_alpha - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(of_log)(log_alpha), difference, rtol=1e-7)


def test_learned_concentration_is_the_mode_in_closed_form():
    """At given sticks: α = (K − 1 + shape) / (rate − Σ log(1 − v))."""
    parameters, active = Parameters(np.array([3.0, 1.5, 1.0, -2.0]), np.zeros(4), np.zeros(4)), np.ones(4, bool)
    rest = {name: value for name, value in PROCESS.items() if name != "concentration"}
    slope = jax.jit(
        jax.grad(
            lambda log_alpha: priors.dirichlet_process(parameters, active, concentration=jnp.exp(log_alpha), **rest)
        )
    )
    root = optimize.root_scalar(lambda log_alpha: float(slope(log_alpha)), bracket=(-10, 10), xtol=1e-12).root
    np.testing.assert_allclose(math.exp(root), (3 + 2.0) / (0.7 - np.log(probabilities(parameters)[-1])), rtol=1e-9)


@each_prior
def test_float32_stays_float32_and_runs_differ_in_their_hyperparameters(prior):
    parameters = Parameters(*np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    active = np.ones(4, bool)
    assert prior(parameters, active, **EVERY[prior]).dtype == np.float32
    if not EVERY[prior]:
        return
    numbers = {name: np.array([value, value * 1.5], np.float32) for name, value in EVERY[prior].items()}
    both = jax.jit(jax.vmap(lambda given_: prior(parameters, active, **given_)))(numbers)
    assert both.dtype == np.float32
    for run in range(2):
        alone = prior(parameters, active, **{name: float(values[run]) for name, values in numbers.items()})
        np.testing.assert_allclose(both[run], alone, rtol=2e-6)


@pytest.mark.parametrize(("prior", "name"), HYPERPARAMETERS)
@pytest.mark.parametrize("value", [-1.0, 0.0, np.inf, -np.inf, np.nan])
def test_hyperparameters_out_of_range_are_refused(prior, name, value):
    parameters, active = Parameters(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)), np.ones(2, bool)
    call = functools.partial(prior, parameters, active, **{**EVERY[prior], name: value})
    if (name == "loc" and np.isfinite(value)) or (name, value) == ("strength", 0.0):
        assert np.isfinite(call())
        return
    with pytest.raises(InputError, match=rf"prior\.{name}: expected a .*finite number.*, but got {value}"):
        call()


# What a prior declares.


def test_priors_declare_what_a_fit_must_know():
    of_sticks = priors.traits(priors.dirichlet_process)
    assert (of_sticks.sticks, of_sticks.learned) == (True, ("concentration",))
    count = priors.traits(priors.flat).pseudo_count
    assert count is not None
    assert count() == 0
    count = priors.traits(priors.dirichlet).pseudo_count
    assert count is not None
    assert count(concentration=1.7) == pytest.approx(0.7)
    for prior in (priors.weakly_informative, priors.normal_inverse_gamma, priors.variance_penalty):
        assert priors.traits(prior).pseudo_count is None
        assert not priors.traits(prior).sticks


def test_a_function_that_declares_nothing_has_the_usual_traits():
    assert priors.traits(lambda parameters: 0.0) == priors.Traits(sticks=False, learned=(), pseudo_count=None)


def test_pseudo_count_is_what_the_gradient_of_the_weights_says():
    """At the M-step, d/d log w of Σ_j r_j log w_j + log prior vanishes at w_j ∝ r_j + pseudo-count."""
    counts, active = np.array([5.0, 2.0, 9.0]), np.ones(3, bool)
    for prior, given_ in ((priors.flat, {}), (priors.dirichlet, {"concentration": 2.5})):
        pseudo_count = priors.traits(prior).pseudo_count
        assert pseudo_count is not None
        best = Parameters(jnp.log(counts + pseudo_count(**given_)), jnp.zeros(3), jnp.zeros(3))
        slope = jax.grad(
            lambda p, prior=prior, given_=given_: (
                counts @ jax.nn.log_softmax(p.log_component_weights) + prior(p, active, **given_)
            )
        )(best)
        np.testing.assert_allclose(slope.log_component_weights, 0.0, atol=1e-12)
