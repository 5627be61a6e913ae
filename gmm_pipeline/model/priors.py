"""Log prior densities of mixture parameters, as plain functions that a config names by `_target_`.

A prior takes the parameters and returns one number in nats; its keyword-only arguments are hyperparameters and come
from the config. It sees the parameters as the fit does: of standardised data where `standardize=true`, which changes
locs and scales but not weights. A prior of your own is one such function and one YAML.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Parameters, weights_loglike


def flat(parameters: Parameters) -> Float[Array, ""]:
    """No prior: a constant 0, so that the estimate is maximum likelihood."""
    return jnp.zeros((), parameters.component_mus.dtype)


def dirichlet(parameters: Parameters, *, concentration: float | Float[Array, ""]) -> Float[Array, ""]:
    """Symmetric Dirichlet prior on the weights: log Dir(w | α, …, α), in nats (Bayesian Data Analysis, 2013).

    Args:
        parameters: the mixture.
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
    log_component_weights = parameters.log_component_weights
    return weights_loglike(log_component_weights, jnp.full_like(log_component_weights, concentration))
