"""Factors and inverses of many small matrices, without the library calls that are slow for them.

XLA hands a batch of LAPACK's calls to the threads that also run programs, and waits for them there: calls that are
independent, in one program or in several, may wait for each other for ever (jaxlib 0.10). Unrolled and by halves,
nothing waits, and it is faster. The price: a larger program. So no program of this package calls LAPACK.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gmm_pipeline.model.mixture import AnyArray

MOST_UNROLLED = 8
"""Rows of a matrix, or of the parts of a larger one, whose steps are written out."""


def factor_and_inverse(
    matrices: Float[AnyArray, "*batch d d"], least: Float[AnyArray, ""] | float | None = None
) -> tuple[Float[Array, "*batch d d"], Float[Array, "*batch d d"]]:
    """T and T⁻¹ of M = T Tᵀ, lower triangular; NaN where M is not positive definite. Of any size.

    Args:
        matrices: M, symmetric.
        least: of the squares of T's diagonal, which are no smaller, so that rounding cannot leave M without a factor;
            None for any.
    """
    matrices = jnp.asarray(matrices)
    size = matrices.shape[-1]
    if size <= MOST_UNROLLED:
        return cholesky_and_inverse(matrices, least)
    # [[A, Bᵀ], [B, C]] = T Tᵀ with T = [[a, 0], [B a⁻ᵀ, c]], a aᵀ = A, c cᵀ = C − B A⁻¹ Bᵀ (Higham 2002, ch. 10).
    half = size // 2
    upper, inverse = factor_and_inverse(matrices[..., :half, :half], least)
    below = matrices[..., half:, :half] @ jnp.swapaxes(inverse, -1, -2)
    remaining = matrices[..., half:, half:] - below @ jnp.swapaxes(below, -1, -2)
    lower, inverse_of_lower = factor_and_inverse(remaining, least)
    return _joined(upper, below, lower), _joined(inverse, -inverse_of_lower @ below @ inverse, inverse_of_lower)


def inverse_of_triangle(factors: Float[AnyArray, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """T⁻¹ of lower triangular T; by halves, [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹ B A⁻¹, C⁻¹]] (Higham 2002, ch. 14).

    Args:
        factors: T.
    """
    factors = jnp.asarray(factors)
    size = factors.shape[-1]
    if size <= MOST_UNROLLED:
        return _unrolled_inverse(factors)
    half = size // 2
    upper, lower = inverse_of_triangle(factors[..., :half, :half]), inverse_of_triangle(factors[..., half:, half:])
    return _joined(upper, -lower @ factors[..., half:, :half] @ upper, lower)


def _joined(
    upper: Float[Array, "*batch a a"], below: Float[Array, "*batch c a"], lower: Float[Array, "*batch c c"]
) -> Float[Array, "*batch d d"]:
    return jnp.block([[upper, jnp.zeros_like(jnp.swapaxes(below, -1, -2))], [below, lower]])


def cholesky_and_inverse(
    matrices: Float[AnyArray, "*batch q q"], least: Float[AnyArray, ""] | float | None = None
) -> tuple[Float[Array, "*batch q q"], Float[Array, "*batch q q"]]:
    """T and T⁻¹ of M = T Tᵀ, lower triangular; NaN where M is not positive definite.

    Args:
        matrices: M, symmetric.
        least: of the squares of T's diagonal; None for any.
    """
    size = matrices.shape[-1]
    rest, columns = jnp.asarray(matrices), []
    for j in range(size):
        pivot = rest[..., j, j]
        if least is not None:
            pivot = jnp.maximum(pivot, least)
            rest = rest.at[..., j, j].set(pivot)
        below = rest[..., j:, j] / jnp.sqrt(pivot)[..., None]
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


def orthonormal_rows(matrices: Float[AnyArray, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Rows q of Qᵀ where A = R Qᵀ with R lower triangular and of positive diagonal, by Gram–Schmidt.

    Done twice, it is as exact as Householder's method (Giraud, Langou & Rozložník 2005).

    Args:
        matrices: A, of full rank.
    """
    rows: list[Array] = []
    for i in range(matrices.shape[-1]):
        row = jnp.asarray(matrices)[..., i, :]
        for _ in range(2 if rows else 0):
            before = jnp.stack(rows, axis=-2)
            along = jnp.sum(before * row[..., None, :], axis=-1, keepdims=True)
            row = row - jnp.sum(along * before, axis=-2)
        rows.append(row / jnp.sqrt(jnp.sum(row * row, axis=-1, keepdims=True)))
    return jnp.stack(rows, axis=-2)
