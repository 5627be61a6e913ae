"""Singular BIC (Drton & Plummer 2017): BIC that accounts for the flat likelihood of superfluous components.

The learning coefficients of Gaussian mixtures with unknown covariances are not known, so known bounds are used instead
(eq. 6.11 with φ = 1). The price: the score of a mixture depends on which smaller ones were fitted.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def learning_coefficient(n_components: int, n_true: int, parameters_of_true: int) -> float:
    """Bound on the learning coefficient of i components if j generated the data: λ_ij = ½ (p_j + i − j).

    p_j is the number of parameters of j components. That is half the number of parameters that are fixed where the
    weights of i − j components vanish, and p_j / 2 for i = j, as in BIC. Drton & Plummer (2017), eq. 6.11 with φ = 1:
    ½ (r j + i − 1 + s), if each component has r parameters besides its weight and all share s.

    Args:
        n_components: i, of the model.
        n_true: j, at most i.
        parameters_of_true: p_j.
    """
    return 0.5 * (parameters_of_true + n_components - n_true)


def singular_bic(
    numbers: Sequence[int], n_parameters: Sequence[int], log_likelihoods: Sequence[float], n_data: float
) -> list[float]:
    """Singular BIC, −2 log L_i, of a chain of mixtures (Drton & Plummer 2017), in nats; lower is better.

    BIC charges an unneeded component as if its parameters were identified; with fewer true components the likelihood is
    flatter. L averages over the number of true components: it is the positive root of L_i² + (Σ_j L_j − L'_ii) L_i =
    Σ_j L'_ij L_j over all j < i, with log L'_ij = ℓ_i − λ_ij log n.

    Args:
        numbers: of components, ascending.
        n_parameters: p of each.
        log_likelihoods: ℓ of the best fit of each, in nats.
        n_data: n, or the sum of the sample weights.
    """
    log_n, log_scores = math.log(n_data), []
    for i, log_likelihood in zip(numbers, log_likelihoods, strict=True):
        smaller = list(zip(numbers, n_parameters, strict=True))[: len(log_scores) + 1]
        penalised = [log_likelihood - learning_coefficient(i, *one) * log_n for one in smaller]
        log_scores.append(_log_root(penalised[-1], np.array(penalised[:-1]), np.array(log_scores)))
    return [-2.0 * score for score in log_scores]


def _log_root(log_own: float, log_penalised: Float[np.ndarray, " j"], log_smaller: Float[np.ndarray, " j"]) -> float:
    """The positive root of L² + (S − D) L = C; in logarithms, since likelihoods differ by more than a float's range.

    Args:
        log_own: log D, of L'_ii.
        log_penalised: log L'_ij; C = Σ_j L'_ij L_j.
        log_smaller: log L_j; S = Σ_j L_j.
    """
    if not len(log_smaller):
        return log_own
    log_sum = float(np.logaddexp.reduce(log_smaller))
    log_product = float(np.logaddexp.reduce(log_penalised + log_smaller))
    if log_own >= log_sum:
        b, c = 1.0 - math.exp(log_sum - log_own), math.exp(log_product - 2.0 * log_own)
        return log_own + math.log(0.5 * (b + math.sqrt(b * b + 4.0 * c)))
    b, log_c = math.exp(log_own - log_sum) - 1.0, log_product - 2.0 * log_sum
    # The form without cancellation.
    return log_sum + math.log(2.0) + log_c - math.log(math.sqrt(b * b + 4.0 * math.exp(log_c)) - b)
