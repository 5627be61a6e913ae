"""How far below the answer each start of a run ended, as pictures and pages show it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.vocabulary import OUTCOMES, REACHED, SAME_OPTIMUM, WORSE


class Starts(NamedTuple):
    """Starts by outcome, and their positions in a picture."""

    excess: Float[np.ndarray, " R"]
    """Nats below the answer, `SAME_OPTIMUM` at least; NaN if a start has no value."""
    order: list[int]
    """Starts by outcome and value, best first."""
    top: float
    """Position of starts without a value."""


def worth_drawing(restarts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a picture of the starts shows more than a sentence: there are several, and they differ."""
    return len(restarts) > 1 and any(one["outcome"] != REACHED for one in restarts)


def compared(restarts: Sequence[Mapping[str, Any]], answer: float | None = None) -> Starts:
    """Compare starts with the answer, which a search may have found, or with the best sound start.

    Starts with a degenerate component are not compared, since their likelihood is unbounded; if above the best, they
    are placed at the bottom.

    Args:
        restarts: with `log_posterior` in nats, None where it is not finite, and `outcome`.
        answer: log posterior of the answer, in nats; None without a search.
    """
    values = np.array(
        [math.nan if one["log_posterior"] is None else one["log_posterior"] for one in restarts], np.float64
    )
    values = np.where(np.isfinite(values), values, np.nan)
    outcomes = [one["outcome"] for one in restarts]
    sound = np.array([outcome in (REACHED, WORSE) for outcome in outcomes], bool)
    candidates = values[sound] if sound.any() else values
    finite = candidates[np.isfinite(candidates)]
    best = float(finite.max()) if finite.size else 0.0
    best = best if answer is None else max(answer, best) if finite.size else answer
    excess = np.maximum(best - values, SAME_OPTIMUM)
    ranks = [OUTCOMES.index(outcome) for outcome in outcomes]
    order = sorted(range(len(restarts)), key=lambda i: (ranks[i], np.nan_to_num(excess[i], nan=math.inf)))
    return Starts(excess, order, 3.0 * float(np.nanmax(excess, initial=1.0)))
