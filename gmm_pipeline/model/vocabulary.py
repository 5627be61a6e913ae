"""Words and thresholds that fits, records, pictures and pages share, so that each is decided once."""

SAME_OPTIMUM = 1e-2
"""Nats between two fits of one optimum, at most; the tolerances leave about a tenth of this."""
LINEAR_UP_TO = 10.0
"""Difference of information criteria that decides (Kass & Raftery 1995); above it the order of magnitude counts."""
REACHED, WORSE, DEGENERATE, DIVERGED = OUTCOMES = ("reached", "worse", "degenerate", "diverged")
"""A start reached the best optimum that any did, a worse one, one with a degenerate component, or nothing finite."""
ENDED = {
    REACHED: "reached the best",
    WORSE: "a worse optimum",
    DEGENERATE: "degenerate: left out",
    DIVERGED: "diverged: no value",
}
"""What became of a start, as legends have it."""
NAMES = {
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "sbic": "singular BIC",
    "held_out": "held-out log-likelihood",
    "likelihood_ratio": "likelihood-ratio tests",
    "loss": "loss",
    "log_likelihood": "log-likelihood",
}
"""Criteria and objectives, as people call them."""
LARGER_IS_BETTER = frozenset({"held_out", "log_likelihood"})
"""Of criteria and objectives; of all others less is better."""
EITHER_KIND = {False: "free scales", True: "equal scales"}
"""Kinds of scales, by whether they are equal."""
