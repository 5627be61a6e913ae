import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROUNDING_32

from gmm_pipeline.inference import objective
from gmm_pipeline.model import mixture, priors
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


@pytest.mark.parametrize(("n_components", "n"), [(1, 1), (1, 3000), (2, 7), (5, 3000), (16, 1), (16, 3000)])
@pytest.mark.parametrize(("bits", "offset", "tolerance"), [(32, 0.0, 1e-4), (64, 0.0, 1e-11), (64, 1e6, 1e-9)])
def test_equals_the_model_in_value_and_gradient(n_components, n, bits, offset, tolerance):
    with jax.enable_x64(bits == 64):
        parameters, data, counts = problem(n_components, n, offset, f"float{bits}")
        ours = jax.jit(jax.value_and_grad(objective.log_likelihood))(parameters, data, counts)
        models = jax.jit(jax.value_and_grad(lambda p: mixture.mixture_loglike(p[0], p[1], p[2], data, counts)))(
            parameters
        )
    size = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(models))
    for our, model in zip(jax.tree.leaves(ours), jax.tree.leaves(models), strict=True):
        np.testing.assert_allclose(our, model, rtol=tolerance, atol=tolerance * size)


def test_loss_is_that_of_the_notebook_summed_and_averaged():
    parameters, data, _ = problem(2, 500, 0.0, "float32")
    settings = {"log_prior": lambda parameters: priors.dirichlet(parameters, concentration=2.0)}
    summed = objective.loss(parameters, data, jnp.ones_like(data), average=False, **settings)
    averaged = objective.loss(parameters, data, jnp.ones_like(data), average=True, **settings)
    expected = mixture.loss_mixture_weights(tuple(parameters), data, alpha_prior=jnp.full(2, 2.0))
    np.testing.assert_allclose(summed, expected, rtol=ROUNDING_32)
    np.testing.assert_allclose(averaged, expected / 500, rtol=ROUNDING_32)
