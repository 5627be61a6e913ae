"""What sample weights mean, and how much each row counts for it.

Fits, criteria and errors know one thing only: how often each row counts, c. What the user's weights w mean is decided
here, once, by how c is made of them:

- *counts*: c = w, frequencies. n = Σ w, and a weight of 3 is three equal rows.
- *shares*: c = w N / Σ w, with N rows of positive weight. n = N; only the ratios of weights matter.
- *precision*: c = w n_eff / Σ w with n_eff = (Σ w)² / Σ w² (Kish 1965, §11.2): how much a row is to be trusted, or how
  many of a population it stands for. n = n_eff, and errors are those of the sandwich (Huber 1967; Binder 1983), since
  with such weights the curvature is not the variance of the gradient.

Where weights have nothing to do with the data, the sandwich is the inverse of the information of n_eff rows. So BIC,
tests and the curvature agree with it, and there is one mechanism. The price: the criteria are of a pseudo-likelihood,
penalised by the average design effect (Lumley & Scott 2015) rather than that of each model.
"""

import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError

COUNTS, SHARES, PRECISION = MEANINGS = ("counts", "shares", "precision")
LEAST_COUNT, LARGEST_COUNT = 2, 1e30
"""Range of the total count: two for a scale, and no more than sums in float32 can represent."""
FAR = 2.0
"""Weights that are not whole numbers are doubtful as counts if they sum to this many times the rows, or one in it."""
MOST_COUNTED = 1e12
"""More observations than anybody counts."""
KEY, COLUMN = "data.weights_are", "data.weights_column"


def check_meaning(meaning: str, *, weighted: bool) -> None:
    """Refuse a meaning that there is not, or one of weights that are not there.

    Args:
        meaning: of the config.
        weighted: whether there are sample weights.

    Raises:
        InputError: which.
    """
    if meaning not in MEANINGS:
        raise InputError(
            KEY, expected=f"one of {', '.join(MEANINGS)}", came=repr(meaning), remedy=f"For example {KEY}={SHARES}."
        )
    if meaning != COUNTS and not weighted:
        raise InputError(
            KEY,
            expected=f"{COUNTS} where there are no sample weights",
            came=meaning,
            remedy=f"Name their column with {COLUMN}; pass sample_weight from Python; or leave the key out.",
        )


def effective_number(weights: Float[np.ndarray, " n"]) -> float:
    """Kish's effective number of rows, (Σ w)² / Σ w²: as many equally weighted rows determine a mean as well.

    Args:
        weights: w, not negative.
    """
    relative = weights / weights.max()
    return float(relative.sum() ** 2 / (relative @ relative))


def counted(weights: Float[np.ndarray, " n"], meaning: str) -> Float[np.ndarray, " n"]:
    """How often each row counts, c.

    Args:
        weights: w, not negative, some of them positive.
        meaning: one of `MEANINGS`.
    """
    if meaning == COUNTS:
        return weights
    relative = weights / weights.max()  # no sum of which is 0 or infinite
    total = float(np.count_nonzero(relative)) if meaning == SHARES else effective_number(relative)
    return relative * (total / relative.sum())


def check_total(counts: Float[np.ndarray, " n"], meaning: str) -> None:
    """Refuse sample weights that are worth less than two rows, or more than sums can hold.

    Args:
        counts: c.
        meaning: one of `MEANINGS`.

    Raises:
        InputError: they are.
    """
    total = float(counts.sum())
    if total >= LEAST_COUNT and total <= LARGEST_COUNT:
        return
    if meaning != COUNTS:
        raise InputError(
            COLUMN,
            expected=f"weights whose effective number of rows, (Σ w)² / Σ w², is {LEAST_COUNT} or more",
            came=f"{total:.3g}: one row has almost all weight",
            remedy=f"Use other weights, or {KEY}={SHARES}.",
        )
    raise InputError(
        COLUMN,
        expected=f"sample weights that say how often a datum counts, {LEAST_COUNT} to {LARGEST_COUNT:g} in all",
        came=f"weights whose sum is {total:g}",
        remedy=f"If they are relative frequencies, which sum to 1, add {KEY}={SHARES}, or multiply them by the number "
        "of observations that they are made of. "
        f"If they say how much a row is to be trusted, add {KEY}={PRECISION}."
        if total < LEAST_COUNT
        else f"Divide them by a common factor, or add {KEY}={SHARES} or {PRECISION} if only their ratios matter.",
    )


def doubts_about(counts: Float[np.ndarray, " n"], meaning: str) -> list[str]:
    """Why sample weights may not be counts, as a sentence; empty if they may be.

    Args:
        counts: c.
        meaning: one of `MEANINGS`.
    """
    if meaning != COUNTS:
        return []
    remedy = (
        "Sample weights are interpreted as counts; errors and criteria are wrong if they mean something else: "
        f"{KEY}={SHARES} or {PRECISION}."
    )
    total, n_rows = float(counts.sum()), int(np.count_nonzero(counts))
    if counts.max() < 1:
        return [f"All sample weights are below 1, as relative frequencies or densities are. {remedy}"]
    if total > MOST_COUNTED:
        return [f"The sample weights sum to {total:g}, more than anybody counts. {remedy}"]
    if (counts % 1 == 0).all():
        return []
    if abs(total - 100) < 0.5:
        return [f"The sample weights sum to {total:g}, as percentages do. {remedy}"]
    if total * FAR < n_rows or total > FAR * n_rows:
        return [f"The sample weights are not whole numbers, and sum to {total:g} in {n_rows:,} rows. {remedy}"]
    return []
