import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_32
from hypothesis import given
from hypothesis import strategies as st

from gmm_pipeline.inference import objective
from gmm_pipeline.model import mixture
from gmm_pipeline.model.mixture import Parameters


def problem(n_components: int, n: int, offset: float, dtype):
    random = np.random.default_rng(n_components + n)
    parameters = Parameters(
        random.normal(size=n_components),
        random.normal(size=n_components) + offset,
        random.normal(size=n_components) / 2,
    )
    data, counts = random.normal(size=n) * 2 + offset, random.uniform(0, 3, size=n)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (parameters, data, counts))


FORMS = {
    "plain": objective.log_likelihood,
    "fused": lambda parameters, *data: objective.fused_log_likelihood(parameters, objective.in_blocks(*data)),
}
OPTIONS = objective.compiler_options(fused=True)
GRADIENTS = {name: jax.jit(jax.value_and_grad(form), compiler_options=OPTIONS) for name, form in FORMS.items()}
FUSED = jax.jit(FORMS["fused"], compiler_options=OPTIONS)
MODEL = jax.jit(jax.value_and_grad(lambda p, data, counts: mixture.mixture_loglike(p[0], p[1], p[2], data, counts)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("n_components", "n"), [(1, 1), (1, 3000), (2, 7), (2, 2048), (2, 2049), (5, 3000), (16, 1), (16, 10_000)]
)
@pytest.mark.parametrize(("bits", "offset", "tolerance"), [(32, 0.0, 1e-4), (64, 0.0, 1e-11), (64, 1e6, 1e-9)])
def test_equals_the_model_in_value_and_gradient(form, n_components, n, bits, offset, tolerance):
    with jax.enable_x64(bits == 64):
        parameters, data, counts = problem(n_components, n, offset, f"float{bits}")
        ours, models = (gradient(parameters, data, counts) for gradient in (GRADIENTS[form], MODEL))
    size = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(models))
    for our, model in zip(jax.tree.leaves(ours), jax.tree.leaves(models), strict=True):
        np.testing.assert_allclose(our, model, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_float32_sums_of_many_data_stay_exact(n):
    parameters, data, counts = problem(3, n, 0.0, "float32")
    fused = FUSED(parameters, data, counts)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (parameters, data, counts))
        expected = jax.jit(objective.log_likelihood)(*exact)
    # A unit in the last place of the sum itself, and of the rounding of each term averaged over the data.
    np.testing.assert_allclose(fused, expected, rtol=2.4e-7, atol=1e-7 * n**0.5)


def test_components_without_weight_and_data_far_away_have_finite_gradients():
    parameters = Parameters(jnp.array([0.0, -1e9]), jnp.array([0.0, 5.0]), jnp.zeros(2))
    data = jnp.array([0.0, 30.0, -1000.0])
    value, gradient = GRADIENTS["fused"](parameters, data, jnp.ones(3))
    alone = Parameters(*(leaf[:1] for leaf in parameters))
    expected, expected_gradient = jax.value_and_grad(objective.log_likelihood)(alone, data, jnp.ones(3))
    np.testing.assert_allclose(value, expected, rtol=ROUNDING_32)
    np.testing.assert_allclose(gradient.component_mus, [expected_gradient.component_mus[0], 0.0], rtol=ROUNDING_32)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("distance", [1e3, 1e5, 1e6])
def test_a_component_that_pads_has_no_part_in_a_datum_however_far(fused, distance):
    own = Parameters(jnp.zeros(2), jnp.array([0.0, 4.0]), jnp.zeros(2))
    wide = 0.0, 0.0, np.log(distance)  # much likelier to have the datum, if it were there
    padded = Parameters(*(jnp.append(leaf, value) for leaf, value in zip(own, wide, strict=True)))
    laid_out = objective.lay_out(jnp.array([0.5, distance]), jnp.ones(2), fused=fused)

    @jax.value_and_grad
    def of_active(parameters):
        return objective.log_likelihood_of(parameters, laid_out, active=np.array([True, True, False]), fused=fused)

    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), own)
        expected, slopes = MODEL(exact, np.array([0.5, distance]), np.ones(2))
    value, gradient = of_active(padded)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for our, model in zip(gradient, jax.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(our, [*model, 0.0], rtol=1e-5, atol=1e-4)


def test_not_a_number_is_not_hidden():
    parameters = Parameters(jnp.zeros(2), jnp.array([0.0, np.nan]), jnp.zeros(2))
    assert np.isnan(FUSED(parameters, jnp.arange(3.0), jnp.ones(3)))


@pytest.mark.parametrize(("dtype", "lowest", "rtol"), [(np.float32, -200.0, 4e-7), (np.float64, -1100.0, 4e-16)])
@given(shares=st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40))
def test_powers_of_two_are_numpys(dtype, lowest, rtol, shares):
    values = (lowest * np.array(shares)).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        ours = np.asarray(objective.power_of_two(jnp.asarray(values)[None]), np.float64)[0]
    # Below the least normal number a result may be zero.
    least = float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(ours, np.exp2(values.astype(np.float64)), rtol=rtol, atol=least)


@given(st.lists(st.floats(1.0, 1e6, width=32), min_size=40, max_size=40))
def test_reciprocals_are_numpys(values):
    values = np.array(values, np.float32)
    ours = np.asarray(objective.reciprocal(values[None]))[0]
    np.testing.assert_allclose(ours, 1.0 / values.astype(np.float64), rtol=4e-7)


@pytest.mark.parametrize("n_components", [2, 8])
def test_nothing_of_the_size_of_all_terms_is_stored(n_components):
    n_data = 100_000
    parameters = Parameters(*[jnp.zeros(n_components)] * 3)
    blocks = objective.in_blocks(jnp.arange(float(n_data)), jnp.ones(n_data))
    gradient = jax.jit(jax.value_and_grad(objective.fused_log_likelihood), compiler_options=OPTIONS)
    memory = gradient.lower(parameters, blocks).compile().memory_analysis()
    if memory is None:
        pytest.skip("this backend does not tell the memory of a program")
    assert memory.temp_size_in_bytes < 4 * n_data
