"""Factors and inverses of many small matrices, without the library calls that are slow for them.

XLA hands a batch of LAPACK's calls to the threads that also run programs, and waits for them: on few cores, programs
that run beside each other may wait for ever (jaxlib 0.10; not where a batch is not divided). Unrolled and by halves,
nothing waits, and it is faster. The price: a larger program.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gmm_pipeline.model.mixture import AnyArray

MOST_BY_LAPACK, MOST_UNROLLED = 16, 8
"""Rows up to which LAPACK is called, in batches that its callers wait for no longer than for others; and those of the
parts of larger matrices."""


def factor_and_inverse(
    matrices: Float[AnyArray, "*batch d d"],
) -> tuple[Float[Array, "*batch d d"], Float[Array, "*batch d d"]]:
    """T and T⁻¹ of M = T Tᵀ, lower triangular; NaN where M is not positive definite. Of any size.

    Args:
        matrices: M, symmetric.
    """
    if matrices.shape[-1] > MOST_BY_LAPACK:
        return _by_halves(jnp.asarray(matrices))
    factors = jnp.linalg.cholesky(matrices)
    return factors, inverse_of_triangle(factors)


def _by_halves(matrices: Float[Array, "*batch d d"]) -> tuple[Float[Array, "*batch d d"], Float[Array, "*batch d d"]]:
    """[[A, Bᵀ], [B, C]] = T Tᵀ with T = [[a, 0], [B a⁻ᵀ, c]], a aᵀ = A, c cᵀ = C − B A⁻¹ Bᵀ (Higham 2002, ch. 10)."""
    size = matrices.shape[-1]
    if size <= MOST_UNROLLED:
        return cholesky_and_inverse(matrices)
    half = size // 2
    upper, inverse = _by_halves(matrices[..., :half, :half])
    below = matrices[..., half:, :half] @ jnp.swapaxes(inverse, -1, -2)
    lower, inverse_of_lower = _by_halves(matrices[..., half:, half:] - below @ jnp.swapaxes(below, -1, -2))
    return _joined(upper, below, lower), _joined(inverse, -inverse_of_lower @ below @ inverse, inverse_of_lower)


def inverse_of_triangle(factors: Float[AnyArray, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """T⁻¹ of lower triangular T; by halves, [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹ B A⁻¹, C⁻¹]] (Higham 2002, ch. 14).

    Args:
        factors: T.
    """
    size = factors.shape[-1]
    if size <= MOST_BY_LAPACK:
        identity = jnp.broadcast_to(jnp.eye(size, dtype=factors.dtype), factors.shape)
        return jax.lax.linalg.triangular_solve(factors, identity, left_side=True, lower=True)
    return _inverse_by_halves(jnp.asarray(factors))


def _inverse_by_halves(factors: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    size = factors.shape[-1]
    if size <= MOST_UNROLLED:
        return _unrolled_inverse(factors)
    half = size // 2
    upper, lower = _inverse_by_halves(factors[..., :half, :half]), _inverse_by_halves(factors[..., half:, half:])
    return _joined(upper, -lower @ factors[..., half:, :half] @ upper, lower)


def _joined(
    upper: Float[Array, "*batch a a"], below: Float[Array, "*batch c a"], lower: Float[Array, "*batch c c"]
) -> Float[Array, "*batch d d"]:
    return jnp.block([[upper, jnp.zeros_like(jnp.swapaxes(below, -1, -2))], [below, lower]])


def cholesky_and_inverse(
    matrices: Float[AnyArray, "*batch q q"],
) -> tuple[Float[Array, "*batch q q"], Float[Array, "*batch q q"]]:
    """T and T⁻¹ of M = T Tᵀ, lower triangular; NaN where M is not positive definite.

    Args:
        matrices: M, symmetric.
    """
    size = matrices.shape[-1]
    rest, columns = jnp.asarray(matrices), []
    for j in range(size):
        below = rest[..., j:, j] / jnp.sqrt(rest[..., j, j])[..., None]
        column = jnp.concatenate([jnp.zeros((*below.shape[:-1], j), below.dtype), below], axis=-1)
        rest = rest - column[..., :, None] * column[..., None, :]
        columns.append(column)
    factors = jnp.stack(columns, axis=-1)
    return factors, _unrolled_inverse(factors)


def _unrolled_inverse(factors: Float[Array, "*batch q q"]) -> Float[Array, "*batch q q"]:
    size = factors.shape[-1]
    identity, rows = jnp.eye(size, dtype=factors.dtype), []
    for i in range(size):
        row = jnp.broadcast_to(identity[i], factors.shape[:-1])
        for j, before in enumerate(rows):
            row = row - factors[..., i, j][..., None] * before
        rows.append(row / factors[..., i, i][..., None])
    return jnp.stack(rows, axis=-2)
