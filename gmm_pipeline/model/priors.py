"""Log prior densities of mixture parameters, as plain functions that a config names by `_target_`.

A prior takes the parameters and returns one number in nats; its keyword-only arguments are hyperparameters and come
from the config. It sees the parameters as the fit does: of standardised data where `standardize=true`, which changes
locs and scales but not weights. A prior of your own is one such function and one YAML.

A second positional argument, `active`, says which components count: a prior that takes it is given arrays that are
filled up with components that do not, so that runs with different numbers of components share one program. One that
does not take it sees the run's own components alone; the price is a program for each number of them.
"""

import jax.numpy as jnp
from jax.nn import log_softmax
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import ABSENT, AnyArray, Parameters


def flat(parameters: Parameters, active: Bool[AnyArray, " K"]) -> Float[Array, ""]:
    """No prior: a constant 0, so that the estimate is maximum likelihood."""
    return jnp.zeros((), parameters.component_mus.dtype)


def dirichlet(
    parameters: Parameters, active: Bool[AnyArray, " K"], *, concentration: float | Float[Array, ""]
) -> Float[Array, ""]:
    """Symmetric Dirichlet prior on the weights: log Dir(w | α, …, α), in nats (Bayesian Data Analysis, 2013).

    Over the k active components, Σ_j (α − 1) log w_j + log Γ(k α) − k log Γ(α); equal to `mixture.weights_loglike`.

    Args:
        parameters: the mixture.
        active: which components count.
        concentration: α, positive; above 1 it keeps components from vanishing, 1 is flat.

    Raises:
        InputError: where α is not positive and finite.
    """
    if isinstance(concentration, int | float) and not 0 < concentration < float("inf"):
        raise InputError(
            "prior.concentration",
            expected="a positive, finite number",
            came=repr(concentration),
            remedy="Use 1 for a flat prior on the weights, or more to keep components from vanishing.",
        )
    dtype = parameters.log_component_weights.dtype
    alpha, n_active = jnp.asarray(concentration, dtype), jnp.sum(active, dtype=dtype)
    log_weights = log_softmax(jnp.where(active, parameters.log_component_weights, ABSENT))
    normaliser = gammaln(n_active * alpha) - n_active * gammaln(alpha)
    return (alpha - 1.0) * jnp.sum(jnp.where(active, log_weights, 0.0)) + normaliser
