"""Cholesky factors of many small matrices, unrolled.

XLA hands a batch of LAPACK's calls to the threads that also run programs, and waits for them: on few cores, programs
that run beside each other may wait for ever. For matrices of some rows this is faster too. The price: a program grows
with the square of the number of rows.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gmm_pipeline.model.mixture import AnyArray


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
    identity, rows = jnp.eye(size, dtype=factors.dtype), []
    for i in range(size):
        row = jnp.broadcast_to(identity[i], factors.shape[:-1])
        for j, before in enumerate(rows):
            row = row - factors[..., i, j][..., None] * before
        rows.append(row / factors[..., i, i][..., None])
    return factors, jnp.stack(rows, axis=-2)
