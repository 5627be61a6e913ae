import jax
import numpy as np
import pytest

from gmm_pipeline.model.small_matrices import factor_and_inverse, inverse_of_triangle


@pytest.mark.parametrize("size", [3, 17, 37])
def test_factors_and_inverses_are_those_of_numpy(size):
    roots = np.random.default_rng(size).normal(size=(2, size, 2 * size))
    matrices = roots @ roots.transpose(0, 2, 1)
    with jax.enable_x64(True):
        factors, inverses = jax.jit(factor_and_inverse)(matrices)
        alone = jax.jit(inverse_of_triangle)(factors)
    expected = np.linalg.cholesky(matrices)
    np.testing.assert_allclose(factors, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(inverses, np.linalg.inv(expected), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(alone, np.linalg.inv(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [3, 17])
def test_a_matrix_that_is_not_positive_definite_has_no_factor(size):
    matrix = np.eye(size)[None]
    matrix[0, -1, -1] = -1.0
    with jax.enable_x64(True):
        factors, _ = factor_and_inverse(matrix)
    assert np.isnan(factors[0, -1, -1])
