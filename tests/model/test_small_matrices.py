import jax
import numpy as np
import pytest

from gmm_pipeline.model.small_matrices import factor_and_inverse, inverse_of_triangle, orthonormal_rows


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


@pytest.mark.parametrize("size", [3, 17])
def test_a_least_pivot_leaves_every_matrix_a_factor(size):
    roots = np.random.default_rng(size).normal(size=(2, size, size - 1))  # of less than full rank
    with jax.enable_x64(True):
        factors, inverses = jax.jit(factor_and_inverse)(roots @ roots.transpose(0, 2, 1), 1e-3)
    factors, inverses = np.asarray(factors), np.asarray(inverses)
    assert np.diagonal(factors, axis1=1, axis2=2).min() == pytest.approx(np.sqrt(1e-3))
    np.testing.assert_allclose(factors @ inverses, np.broadcast_to(np.eye(size), factors.shape), atol=1e-9)


@pytest.mark.parametrize("size", [2, 9])
@pytest.mark.parametrize("condition", [1.0, 1e6])
def test_orthonormal_rows_are_those_of_householders_method(size, condition):
    random = np.random.default_rng(size)
    left, right = (np.linalg.qr(random.normal(size=(3, size, size)))[0] for _ in range(2))
    matrices = left * np.geomspace(1.0, 1.0 / condition, size) @ right
    with jax.enable_x64(True):
        rows = np.asarray(jax.jit(orthonormal_rows)(matrices))
    q, r = np.linalg.qr(matrices.swapaxes(1, 2))
    expected = (q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]).swapaxes(1, 2)
    np.testing.assert_allclose(rows @ rows.swapaxes(1, 2), np.broadcast_to(np.eye(size), rows.shape), atol=1e-14)
    np.testing.assert_allclose(rows, expected, atol=1e-13 * condition)
