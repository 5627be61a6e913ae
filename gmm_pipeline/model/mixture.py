"""One-dimensional Gaussian mixtures: densities, responsibilities and draws.

Functions are written for one datum or one component and vectorised with `vmap`. Parameters are unconstrained inside a
fit, so that any gradient step lands on a valid mixture; the price is one redundant direction, since adding a constant
to all log weights changes nothing.

| symbol | name | shape |
| --- | --- | --- |
| x_i | `datum` | scalar |
| x | `data` | n |
| log w_j, up to a constant | `log_component_weights` | K |
| μ_j | `component_mus` | K |
| log σ_j | `log_component_scales` | K |
| w_j, μ_j, σ_j | `Mixture.weights`, `.locs`, `.scales` | K |
| r_ij = P(component j given x_i) | `responsibilities` | K |
| α | `alpha_prior` | K |
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, Real

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import Mixture

AnyArray = Array | np.ndarray
Scalar = Real[AnyArray, ""] | float | int

ABSENT = -1e30
"""Log weight of a component that only pads an array: finite, exactly 0 once exponentiated, and below the log density of
any datum under the others: at a million scales from them that is -5e11."""


class Parameters(NamedTuple):
    """A mixture as a fit sees it: unconstrained, with the components on the last axis."""

    log_component_weights: Float[AnyArray, "*batch K"]
    component_mus: Float[AnyArray, "*batch K"]
    log_component_scales: Float[AnyArray, "*batch K"]


def component_log_density(
    component_mu: Scalar,
    log_component_scale: Scalar,
    datum: Scalar,
) -> Float[Array, ""]:
    """Log density of one datum under one Gaussian: −½((x − μ)/σ)² − log σ − ½ log 2π, in nats.

    Args:
        component_mu: μ, in the units of the data.
        log_component_scale: log σ.
        datum: x.
    """
    return portable.log_normal(jnp.exp(-log_component_scale) * (datum - component_mu), log_component_scale)


def loglike_one_component(
    component_weight: Scalar,
    component_mu: Scalar,
    log_component_scale: Scalar,
    datum: Scalar,
) -> Float[Array, ""]:
    """Joint log-likelihood of one datum and one component: log w + log N(x | μ, σ), in nats.

    Args:
        component_weight: w, a probability in [0, 1].
        component_mu: μ, in the units of the data.
        log_component_scale: log σ.
        datum: x.
    """
    return jnp.log(component_weight) + component_log_density(component_mu, log_component_scale, datum)


def normalize_weights(weights: Real[AnyArray, " K"]) -> Float[Array, " K"]:
    """Normalise positive weights to probabilities: w_j / Σ w."""
    return jnp.divide(weights, jnp.sum(weights))


def joint_loglikes(parameters: Parameters, datum: Scalar) -> Float[Array, " K"]:
    """Log joint density of one datum and each component: log w_j + log N(x | μ_j, σ_j), in nats.

    The weights stay logarithms throughout (`log_softmax`): log weights of (0, −120, −130) keep their differences,
    which exponentiating and normalising would turn into (0, −inf, −inf).

    Args:
        parameters: [K], the mixture, unconstrained.
        datum: x, in the unit of the locs.
    """
    densities = jax.vmap(partial(component_log_density, datum=datum))(
        parameters.component_mus, parameters.log_component_scales
    )
    return log_softmax(parameters.log_component_weights) + densities


def loglike_across_components(
    log_component_weights: Float[AnyArray, " K"],
    component_mus: Float[AnyArray, " K"],
    log_component_scales: Float[AnyArray, " K"],
    datum: Scalar,
) -> Float[Array, ""]:
    """Log-likelihood of one datum under the mixture: log Σ_j w_j N(x | μ_j, σ_j), in nats.

    Args:
        log_component_weights: log w up to a constant; normalised here.
        component_mus: μ, in the units of the data.
        log_component_scales: log σ.
        datum: x.
    """
    return logsumexp(joint_loglikes(Parameters(log_component_weights, component_mus, log_component_scales), datum))


def mixture_loglike(
    log_component_weights: Float[AnyArray, " K"],
    component_mus: Float[AnyArray, " K"],
    log_component_scales: Float[AnyArray, " K"],
    data: Real[AnyArray, " n"],
    sample_weights: Real[AnyArray, " n"] | None = None,
) -> Float[Array, ""]:
    """Log-likelihood of all data: Σ_i c_i log Σ_j w_j N(x_i | μ_j, σ_j), in nats.

    Args:
        log_component_weights: log w up to a constant; normalised here.
        component_mus: μ, in the units of the data.
        log_component_scales: log σ.
        data: x, independent draws.
        sample_weights: c, how often each datum counts; None for once each.
    """
    across = partial(loglike_across_components, log_component_weights, component_mus, log_component_scales)
    loglikes = jax.vmap(across)(data)
    return jnp.sum(loglikes if sample_weights is None else sample_weights * loglikes)


def weights_loglike(
    log_component_weights: Float[AnyArray, " K"], alpha_prior: Real[AnyArray, " K"]
) -> Float[Array, ""]:
    """Dirichlet log density of the weights: Σ_j (α_j − 1) log w_j + log Γ(Σ α) − Σ_j log Γ(α_j), in nats.

    The density is with respect to the weights, not their logarithms: no Jacobian of the softmax enters, so that α = 1
    leaves the maximum-likelihood estimate as it is.

    Args:
        log_component_weights: log w up to a constant; normalised here.
        alpha_prior: α, positive.
    """
    alpha_prior = jnp.asarray(alpha_prior, log_component_weights.dtype)
    normaliser = gammaln(jnp.sum(alpha_prior)) - jnp.sum(gammaln(alpha_prior))
    return jnp.sum((alpha_prior - 1.0) * log_softmax(log_component_weights)) + normaliser


def loss_mixture_weights(
    params: tuple[Float[Array, " K"], Float[Array, " K"], Float[Array, " K"]],
    data: Real[AnyArray, " n"],
    *,
    alpha_prior: Real[AnyArray, " K"],
) -> Float[Array, ""]:
    """Negative log posterior of a mixture whose weights have a Dirichlet prior, summed over the data, in nats.

    Args:
        params: (log_component_weights, component_mus, log_component_scales).
        data: x.
        alpha_prior: α of the Dirichlet prior on the weights.
    """
    log_component_weights, component_mus, log_component_scales = params
    loglike_mixture = mixture_loglike(log_component_weights, component_mus, log_component_scales, data)
    return -(loglike_mixture + weights_loglike(log_component_weights, alpha_prior))


def responsibilities(parameters: Parameters, datum: Scalar) -> Float[Array, " K"]:
    """Probability that each component generated this datum: r_j = w_j N(x | μ_j, σ_j) / Σ_k w_k N(x | μ_k, σ_k).

    Args:
        parameters: [K], the mixture, unconstrained.
        datum: x, in the unit of the locs.
    """
    return jax.nn.softmax(joint_loglikes(parameters, datum))


def key_of(seed: int) -> np.ndarray:
    """The two uint32 of `jax.random.PRNGKey(seed)`, without a compiled program that makes them."""
    return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)


def sample_exact_counts(
    key: PRNGKeyArray | Num[AnyArray, "2"], locs: list[float], scales: list[float], counts: list[int]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Draw a given number from each component, in component order; returns the draws and the component of each.

    The key is split once per component; component j's draws are σ_j · normal(key_j) + μ_j, in float32.

    Args:
        key: a JAX key, typed or as two words.
        locs: [K], μ.
        scales: [K], σ, in the unit of the locs.
        counts: [K], the number of draws from each component.
    """
    noise = _noise(key, tuple(counts))
    # NumPy rounds after each step; a compiler would fuse the two.
    draws = [
        np.float32(scale) * np.asarray(one) + np.float32(loc)
        for one, loc, scale in zip(noise, locs, scales, strict=True)
    ]
    return np.concatenate(draws), np.repeat(np.arange(len(counts)), counts)


@partial(jax.jit, static_argnames="counts")
def _noise(key: PRNGKeyArray | Num[AnyArray, "2"], counts: tuple[int, ...]) -> list[Array]:
    """Standard normal draws of each component, as one program."""
    keys = jax.random.split(key, len(counts))
    return [jax.random.normal(keys[j], (count,), jnp.float32) for j, count in enumerate(counts)]


def sample_multinomial(
    key: PRNGKeyArray | Num[AnyArray, "2"], weights: list[float], locs: list[float], scales: list[float], n_draws: int
) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    """Independent float32 draws and the component of each: z_i ~ Categorical(w), x_i ~ N(μ_z, σ_z).

    Args:
        key: a JAX key, typed or as two words.
        weights: [K], w, positive; their sum does not matter.
        locs: [K], μ.
        scales: [K], σ, in the unit of the locs.
        n_draws: n.
    """
    key_components, key_draws = jax.random.split(key)
    log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
    labels = jax.random.categorical(key_components, log_weights, shape=(n_draws,))
    noise = jax.random.normal(key_draws, (n_draws,), jnp.float32)
    return jnp.asarray(scales, jnp.float32)[labels] * noise + jnp.asarray(locs, jnp.float32)[labels], labels


def exact(parameters: Parameters) -> Parameters:
    """The same parameters in float64, as NumPy arrays."""
    return Parameters(*(np.asarray(leaf, np.float64) for leaf in parameters))


def constrain(parameters: Parameters) -> Mixture:
    """Unconstrained parameters as a mixture in natural parameters, float64; any leading axes are kept."""
    log_weights, locs, log_scales = exact(parameters)
    with np.errstate(over="ignore", invalid="ignore"):  # a diverged fit is infinite, and is returned as such
        relative = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
        return Mixture(relative / relative.sum(axis=-1, keepdims=True), np.asarray(locs), np.exp(log_scales))
