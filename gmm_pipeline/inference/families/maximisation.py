"""EM's maximisation for the covariance models: volumes, shapes and orientations from scatter matrices.

Given the scatter W_k of each component about its loc, the expected log-likelihood falls with ½ Σ_k [N_k log |Σ_k| +
tr(Σ_k⁻¹ W_k)]. Volume, shape and orientation are each improved with the others held, so that it never falls (a
generalised EM). One pass over the three is already the maximum where the paper has it in closed form (Celeux & Govaert
1995); for the models that need iterations, the next step of EM goes on where this one ended. Orientations turn by plane
rotations (Flury & Gautschi 1986), each the best one in its plane for all components that share it. So one program
serves all models, no eigenvector changes its sign or place between steps, and extrapolation stays possible.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.small_matrices import factor_and_inverse

INNER = 3
"""Rounds of volume and shape in a step where axes are those of the columns. Turning axes is dear: once in a step."""


class Scatter(NamedTuple):
    """What a step of EM knows of the components' covariances."""

    counts: Float[AnyArray, " K"]
    """N, the data of each."""
    scatter: Float[AnyArray, "K d d"] | Float[AnyArray, "K d"]
    """W about the loc, or its diagonal."""
    present: Bool[AnyArray, " K"]
    """Components that have data."""
    log_floor: Float[AnyArray, ""]
    """Least log scale. Where volumes are equal, one axis without extent would make the others as long as any number."""


class Shared(NamedTuple):
    """What the components of a model share; arrays, so that models share a program."""

    volume: Bool[AnyArray, "*batch"]
    shape: Bool[AnyArray, "*batch"]
    orientation: Bool[AnyArray, "*batch"]
    round: Bool[AnyArray, "*batch"]
    """Whether shapes are those of a sphere."""


def _over(values: Float[AnyArray, "K ..."], present: Bool[AnyArray, " K"]) -> Float[Array, "1 ..."]:
    return jnp.sum(jnp.where(present.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0), axis=0, keepdims=True)


def scaled(
    squares: Float[AnyArray, "K d"], log_scales: Float[AnyArray, "K d"], seen: Scatter, shared: Shared
) -> Float[Array, "K d"]:
    """Log scales along given axes: the shape for given volumes, then the volume for given shapes, none below the floor.

    Where the shape is a component's own, an axis without extent has the extent of the floor. A shape that is shared
    follows from all components, of which one may be without extent along an axis and far from the floor all the same.

    Args:
        squares: c, the diagonal of the scatter along the axes of each component.
        log_scales: from which the volumes are taken.
        seen: of all components.
        shared: of the model.
    """
    tiny = jnp.finfo(squares.dtype).tiny / jnp.finfo(squares.dtype).eps
    least, alike = seen.counts[:, None] * jnp.exp(2.0 * seen.log_floor), shared.shape | shared.round
    squares = jnp.where(alike, squares, jnp.maximum(squares, least))
    log_volumes = 2.0 * jnp.mean(log_scales, axis=-1, keepdims=True)
    pooled, least = (_over(one * jnp.exp(-log_volumes), seen.present) for one in (squares, least))
    pooled = jnp.maximum(pooled, least)
    log_shapes = jnp.log(jnp.maximum(jnp.where(shared.shape, pooled, squares), tiny))
    log_shapes = log_shapes - jnp.mean(log_shapes, axis=-1, keepdims=True)
    log_shapes = jnp.where(shared.round, 0.0, log_shapes)
    sizes = jnp.mean(squares * jnp.exp(-log_shapes), axis=-1)
    counts = jnp.where(seen.present, seen.counts, 1.0)
    common = _over(sizes, seen.present) / _over(seen.counts, seen.present)
    # The least volumes with which no axis is below the floor.
    least = jnp.where(alike, jnp.exp(2.0 * seen.log_floor - jnp.min(log_shapes, axis=-1)), 0.0)
    common = jnp.maximum(common, jnp.max(jnp.where(seen.present, least, 0.0)))
    volumes = jnp.where(shared.volume, common, jnp.maximum(sizes / counts, least))
    return 0.5 * (jnp.log(jnp.maximum(volumes, tiny))[:, None] + log_shapes)


def _rounds(n_columns: int) -> np.ndarray:
    """A schedule in which each pair of axes meets once: partners, [rounds, d]; who has none is its own partner."""
    players = [*range(n_columns), *[-1] * (n_columns % 2)]
    half, rounds = len(players) // 2, []
    for _ in range(len(players) - 1):
        partners = np.arange(n_columns)
        for one, other in zip(players[:half], reversed(players[half:]), strict=True):
            if min(one, other) >= 0:
                partners[[one, other]] = other, one
        rounds.append(partners)
        players = [players[0], players[-1], *players[1:-1]]
    return np.array(rounds).reshape(-1, n_columns)


def rotated(
    axes: Float[AnyArray, "K d d"], log_scales: Float[AnyArray, "K d"], seen: Scatter, shared: Shared
) -> tuple[Float[Array, "K d d"], Float[Array, "K d d"]]:
    """Turn axes once in each plane so that Σ_k tr(Σ_k⁻¹ W_k) is least; returns them and the scatter along them.

    In the plane of axes i and j the sum is a constant plus α cos 2θ + β sin 2θ, with α = ½ Σ_k (p_i − p_j)(c_ii − c_jj)
    and β = Σ_k (p_i − p_j) c_ij over the components that share the axes, where p = e^{−2s}. Planes that have no axis in
    common turn at once.

    Args:
        axes: Q, with the axes of a component as rows.
        log_scales: s.
        seen: of all components.
        shared: of the model.
    """
    along = jnp.einsum("kij,kjl,kml->kim", axes, seen.scatter, axes)
    precisions = jnp.exp(-2.0 * log_scales)
    rounds = jnp.asarray(_rounds(axes.shape[-1]))
    places = jnp.arange(axes.shape[-1])

    def turn(number: Any, carried: Any) -> Any:
        axes, along = carried
        partner = rounds[number]
        gap = precisions - precisions[:, partner]
        squares = jnp.diagonal(along, axis1=1, axis2=2)
        alpha = 0.5 * gap * (squares - squares[:, partner])
        beta = gap * along[:, places, partner]
        alpha, beta = (jnp.where(shared.orientation, _over(value, seen.present), value) for value in (alpha, beta))
        cosine, sine = (part[:, :, None] for part in _half_angle(-alpha, -beta))

        def rows(matrix: Any) -> Any:
            return cosine * matrix + sine * matrix[:, partner]

        return rows(axes), jnp.swapaxes(rows(jnp.swapaxes(rows(along), 1, 2)), 1, 2)

    return jax.lax.fori_loop(0, len(rounds), turn, (axes, along))


def _half_angle(
    x: Float[AnyArray, "K d"], y: Float[AnyArray, "K d"]
) -> tuple[Float[Array, "K d"], Float[Array, "K d"]]:
    """Cosine and sine of ½ arctan2(y, x), without the functions, which take half the time of a turn.

    Where nothing turns (equal precisions), the angle is zero rather than that of rounding errors.
    """
    size = jnp.hypot(x, y)
    turns = (size > 0.0) & ((x < 0.0) | (y != 0.0))
    double = jnp.where(turns, x / jnp.where(turns, size, 1.0), 1.0)
    # The larger of the two comes from the double angle, which has its digits, and the other from it.
    larger = jnp.sqrt(0.5 + 0.5 * jnp.abs(double))
    other = 0.5 * jnp.where(turns, y / jnp.where(turns, size, 1.0), 0.0) / larger
    acute = double >= 0.0
    sign = jnp.copysign(jnp.ones_like(y), y)
    return jnp.where(acute, larger, jnp.abs(other)), jnp.where(acute, other, sign * larger)


def oriented(
    axes: Float[AnyArray, "K d d"], log_scales: Float[AnyArray, "K d"], seen: Scatter, shared: Shared
) -> tuple[Float[Array, "K d"], Float[Array, "K d d"]]:
    """Log scales and axes after a step, from those before.

    Args:
        axes: Q.
        log_scales: s.
        seen: of all components.
        shared: of the model.
    """
    squares = jnp.einsum("kij,kjl,kil->ki", axes, seen.scatter, axes)
    log_scales = scaled(squares, log_scales, seen, shared)
    axes, along = rotated(axes, log_scales, seen, shared)
    return scaled(jnp.diagonal(along, axis1=1, axis2=2), log_scales, seen, shared), axes


def along_columns(log_scales: Float[AnyArray, "K d"], seen: Scatter, shared: Shared) -> Float[Array, "K d"]:
    """Log scales after a step where axes are those of the columns.

    Args:
        log_scales: s.
        seen: of all components.
        shared: of the model.
    """
    return jax.lax.fori_loop(0, INNER, lambda _, before: scaled(seen.scatter, before, seen, shared), log_scales)


def unstructured(
    log_scales: Float[AnyArray, "K d"], axes: Float[AnyArray, "K d d"], seen: Scatter, shared: Shared
) -> tuple[Float[Array, "K d"], Float[Array, "K d d"]]:
    """Log scales and axes of Σ_k = W_k / N_k, or of Σ W / Σ N: those of its Cholesky factor.

    Where data lie in a plane, what is left of them beside it is rounding, and axes that follow it point anywhere: so
    scales are kept from falling below the floor as the factor is made. Without a floor, a matrix that has no factor
    stays as it was before.

    Args:
        log_scales: s before.
        axes: Q before.
        seen: of all components.
        shared: of the model.
    """
    counts = jnp.where(seen.present, seen.counts, 1.0)[:, None, None]
    common = _over(seen.scatter, seen.present) / _over(seen.counts, seen.present)[:, None, None]
    covariances = jnp.where(shared.volume, common, seen.scatter / counts)
    factors, inverses = factor_and_inverse(covariances, jnp.exp(2.0 * seen.log_floor))
    diagonal = jnp.diagonal(factors, axis1=1, axis2=2)
    found = diagonal[:, :, None] * inverses
    good = jnp.isfinite(found).all(axis=(1, 2))
    return (
        jnp.where(good[:, None], jnp.log(jnp.where(good[:, None], diagonal, 1.0)), log_scales),
        jnp.where(good[:, None, None], found, axes),
    )
