"""Draws of several columns from a mixture, in float32 and keyed as those of one column: x = μ + L z with Σ = L Lᵀ.

JAX draws the noise. NumPy multiplies it, one column of L at a time, so that the order of the sums, and with it every
bit, is the same wherever it is computed; the price: d passes over the draws.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Num, PRNGKeyArray

from gmm_pipeline.model.natural import MultivariateMixture

Key = PRNGKeyArray | Num[Array | np.ndarray, "2"]


def draw_exact_counts(
    key: Key, mixture: MultivariateMixture, counts: list[int]
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Draw a given number from each component, in component order; returns the draws and the component of each.

    The key is split once per component.

    Args:
        key: a JAX key, typed or as two words.
        mixture: of K components; its weights do not matter.
        counts: [K], the number of draws from each component.
    """
    noise = np.concatenate(_noise_of_each(key, tuple(counts), mixture.locs.shape[1]))
    components = np.repeat(np.arange(len(counts)), counts)
    return _placed(noise, mixture, components), components


def draw_multinomial(
    key: Key, mixture: MultivariateMixture, n_draws: int
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Independent draws and the component of each: j_i ~ Categorical(w), x_i ~ N(μ_j, Σ_j).

    Args:
        key: a JAX key, typed or as two words.
        mixture: of K components, whose weights have any sum.
        n_draws: n.
    """
    key_components, key_draws = jax.random.split(key)
    log_weights = jnp.log(jnp.asarray(mixture.weights, jnp.float32))
    components = np.asarray(jax.random.categorical(key_components, log_weights, shape=(n_draws,)))
    noise = np.asarray(jax.random.normal(key_draws, (n_draws, mixture.locs.shape[1]), jnp.float32))
    return _placed(noise, mixture, components), components


def _placed(
    noise: Float[np.ndarray, "n d"], mixture: MultivariateMixture, components: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    """Standard normal noise as draws of components."""
    factors = np.linalg.cholesky(mixture.covariances).astype(np.float32)
    draws = np.zeros_like(noise)
    for place, column in enumerate(noise.T):
        draws += factors[components, :, place] * column[:, None]
    return draws + mixture.locs.astype(np.float32)[components]


@partial(jax.jit, static_argnames=("counts", "n_columns"))
def _noise_of_each(key: Key, counts: tuple[int, ...], n_columns: int) -> list[Array]:
    """Standard normal draws of each component, as one program."""
    keys = jax.random.split(key, len(counts))
    return [jax.random.normal(keys[j], (count, n_columns), jnp.float32) for j, count in enumerate(counts)]
