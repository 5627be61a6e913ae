"""Terms and thresholds shared by fits, records, pictures and pages, each defined once."""

SAME_OPTIMUM = 1e-2
"""Largest difference in nats between two fits of the same optimum; the tolerances leave about a tenth of this."""
PASSING, LABELLING, SEARCHING, RESAMPLING = ("looking at all data", "writing labels", "searching", "resampling")
COUNTED = {PASSING: "rows", LABELLING: "rows", SEARCHING: "searches", RESAMPLING: "replicates"}
"""What progress counts, by what is done, where that is not steps."""
LINEAR_UP_TO = 10.0
"""Difference of information criteria that is decisive (Kass & Raftery 1995); axes are logarithmic above it."""
REACHED, WORSE, DEGENERATE, DIVERGED = OUTCOMES = ("reached", "worse", "degenerate", "diverged")
"""A start ended at the best optimum of all starts, a worse one, one with a degenerate component, or nothing finite."""
ENDED = {
    REACHED: "reached the best",
    WORSE: "a worse optimum",
    DEGENERATE: "degenerate: left out",
    DIVERGED: "diverged: no value",
}
"""Outcomes of starts, as legends show them."""
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
"""Display names of criteria and objectives."""
LARGER_IS_BETTER = frozenset({"held_out", "log_likelihood"})
"""Criteria and objectives to maximise; all others are minimised."""
EITHER_KIND = {False: "free scales", True: "equal scales"}
"""Kinds of scales, by whether they are equal."""
LIKELIHOOD_RATIO = "likelihood_ratio"
OF_EACH_FIT = ("aic", "bic", "icl", "sbic", "held_out")
"""Criteria that give each fit a number."""
CRITERIA = (*OF_EACH_FIT, LIKELIHOOD_RATIO)
"""What a number of components can be chosen by."""
OBJECTIVES = ("bic", "aic", "icl", "loss", "log_likelihood")
"""Metrics that a run can be judged by."""
LARGEST_SEED = 2**32 - 1
