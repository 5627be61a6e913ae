"""Choosing the number of components: the candidates, their values by each criterion, and the best sound one.

A criterion compares optima, and the likelihood of a mixture is unbounded where a component collapses on a datum: a
candidate that is degenerate or diverged cannot be chosen, however well it scores, nor can one that is shown not to be
an optimum of its model or to gain nothing by a component. All numbers are in the user's units and float64. The
candidates are jobs like any other, so that a selection is one batch of fits. The price: a hopeless candidate is not
stopped early.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gmm_pipeline.analysis import nesting
from gmm_pipeline.analysis.cross_validation import HeldOut, standard_error_of_gap
from gmm_pipeline.analysis.doubts import Doubt, Reason, barred, listed, named
from gmm_pipeline.analysis.singular_bic import singular_bic
from gmm_pipeline.analysis.verdicts import doubts_of
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import diagnostics
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.scaling import Units, total_log_volume
from gmm_pipeline.model.covariances import of_one_component
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER, OF_EACH_FIT

OF_OTHERS = ("sbic", "held_out", "held_out_error", "held_out_gap_error", "doubts")
"""Fields of a candidate that depend on the other candidates."""
INFORMATION_CRITERIA = frozenset({"aic", "bic", "icl", "sbic"})
"""Criteria in which a nat of log-likelihood counts as two."""


class Candidate(NamedTuple):
    """A number of components and a kind of scales, fitted and judged; in nats, for data in the user's units."""

    n_components: int
    equal_scales: bool
    n_parameters: int
    log_likelihood: float
    aic: float
    bic: float
    icl: float
    sbic: float | None
    """None if the fit is not an optimum."""
    held_out: float | None
    """Held-out log-likelihood; None if it was not asked for."""
    held_out_error: float | None
    """Its standard error over the data."""
    held_out_gap_error: float | None
    """Standard error of its difference from the best candidate's, computed datum by datum: the smaller of the two
    errors, since all candidates find the same data hard."""
    degenerate: tuple[int, ...]
    diverged: bool
    converged: bool
    doubts: tuple[Doubt, ...] = ()
    """Other doubts about it, by itself and compared with the other candidates."""
    covariance: str = ""
    """Covariance model of several columns; empty for one column."""

    @property
    def name(self) -> str:
        """The name of its model."""
        return named(self.n_components, equal_scales=self.equal_scales, covariance=self.covariance)


def candidates_of(job: FitJob, numbers: Sequence[int], equal_scales: Sequence[bool]) -> list[FitJob]:
    """The fits that a selection compares, in the order of their number of components.

    For one component, equal and free scales are the same, so it is fitted once.

    Args:
        job: what all of them share.
        numbers: of components.
        equal_scales: which kinds of scales.

    Raises:
        InputError: there is nothing to compare, or a number is not a valid number of components.
    """
    if not numbers or not equal_scales or min(numbers) < 1:
        raise InputError(
            "n_components",
            expected="numbers of components to choose from, 1 or more",
            came=f"{list(numbers)} with {len(equal_scales)} kinds of scales",
            remedy="Set the bounds of the selection so that the first is at least 1 and not above the last.",
        )
    return [
        job._replace(plan=job.plan._replace(n_components=number), equal_scales=equal)
        for number in sorted(set(numbers))
        for equal in dict.fromkeys(equal_scales[:1] if number == 1 else equal_scales)
    ]


def penalty(criterion: str, n_data: float) -> float:
    """Nats of log-likelihood that a parameter must gain, at least, to improve a criterion; 0 where none is fixed.

    Args:
        criterion: by which a fit is chosen.
        n_data: n, or the sum of the sample weights.
    """
    return {"aic": 1.0, "bic": 0.5 * math.log(n_data), "icl": 0.5 * math.log(n_data)}.get(criterion, 0.0)


def criteria(log_likelihood: float, n_parameters: int, n_data: float, entropy: float) -> dict[str, float]:
    """AIC (Akaike 1974), BIC (Schwarz 1978) and ICL = BIC + 2 H (Biernacki, Celeux & Govaert 2000), in nats.

    Lower is better. ICL is taken with responsibilities where the paper has hard labels, as McLachlan & Peel (2000) do:
    the penalty 2 H, and so the choice, moves smoothly with the data.

    Args:
        log_likelihood: ℓ, in nats.
        n_parameters: p.
        n_data: n, or the sum of the sample weights.
        entropy: H of the responsibilities, in nats.
    """
    information = diagnostics.information_criteria(log_likelihood, n_parameters, n_data)
    return {**information, "icl": information["bic"] + 2.0 * entropy}


def judge(
    jobs: Sequence[FitJob],
    results: Sequence[FitResult],
    units: Sequence[Units],
    held_out: Sequence[HeldOut] | None = None,
) -> list[Candidate]:
    """Evaluate every criterion for every candidate, in the order of the jobs.

    Args:
        jobs: of `candidates_of`.
        results: of these.
        units: the data in the units of each.
        held_out: of each candidate, if it was cross-validated.
    """
    rows = [_judge(*one) for one in zip(jobs, results, units, strict=True)]
    if not rows:
        return rows
    if jobs[0].noise is None:  # whose learning coefficients are not known
        rows = _with_singular_bic(rows, float(np.sum(jobs[0].sample_weights, dtype=np.float64)))
    scalings, likelihoods = [one.scaling for one in units], [row.log_likelihood for row in rows]
    doubts = nesting.compared(jobs, results, scalings, likelihoods, [row.doubts for row in rows])
    rows = [row._replace(doubts=of_row) for row, of_row in zip(rows, doubts, strict=True)]
    return rows if held_out is None else _with_held_out(rows, held_out, jobs[0].sample_weights)


def with_result(candidate: Candidate, job: FitJob, result: FitResult, units: Units) -> Candidate:
    """A candidate with the numbers of another result of the same optimum; fields that depend on other candidates stay.

    Args:
        candidate: as it was compared.
        job: its fit.
        result: the result that is its answer.
        units: the data in its units.
    """
    kept = {name: getattr(candidate, name) for name in OF_OTHERS}
    return _judge(job, result, units)._replace(**kept)


def _judge(job: FitJob, result: FitResult, units: Units) -> Candidate:
    standardised, total = units.standardised, float(np.sum(job.sample_weights, dtype=np.float64))
    seen = diagnostics.totals(result.parameters, standardised, job.sample_weights, units.scaling, job.noise)
    n_parameters = job.n_parameters
    reached = seen.log_likelihood + total_log_volume(units.scaling, units.of_user, job.sample_weights)
    return Candidate(
        n_components=job.plan.n_components,
        equal_scales=job.equal_scales,
        n_parameters=n_parameters,
        log_likelihood=seen.log_likelihood,
        **criteria(seen.log_likelihood, n_parameters, total, seen.entropy),
        sbic=None,
        held_out=None,
        held_out_error=None,
        held_out_gap_error=None,
        degenerate=result.degenerate,
        diverged=result.diverged,
        converged=result.converged,
        doubts=doubts_of(job, result, standardised, climbs=not job.covariance, reached=reached),
        covariance=job.covariance,
    )


def _with_singular_bic(rows: Sequence[Candidate], n_data: float) -> list[Candidate]:
    """A chain for each model; one component starts those of all models that it belongs to, and has one score."""
    scores: dict[int, float] = {}
    for kind in dict.fromkeys((row.covariance, row.equal_scales) for row in rows):
        chain = sorted(
            (i for i, row in enumerate(rows) if has_likelihood(row) and _is_of(row, *kind)),
            key=lambda i: rows[i].n_components,
        )
        numbers, n_parameters, found = (
            [getattr(rows[i], name) for i in chain] for name in ("n_components", "n_parameters", "log_likelihood")
        )
        scores |= dict(zip(chain, singular_bic(numbers, n_parameters, found, n_data), strict=True))
    return [row._replace(sbic=scores.get(i)) for i, row in enumerate(rows)]


def _is_of(row: Candidate, covariance: str, equal_scales: bool) -> bool:
    """Whether a candidate is of a model, as one component is of all that differ in what components share only."""
    if row.n_components == 1:
        return of_one_component(row.covariance) == of_one_component(covariance)
    return (row.covariance, row.equal_scales) == (covariance, equal_scales)


def _with_held_out(
    rows: Sequence[Candidate], held_out: Sequence[HeldOut], sample_weights: Float[np.ndarray, " n"]
) -> list[Candidate]:
    rows = [
        row._replace(held_out=seen.log_likelihood, held_out_error=seen.standard_error)
        for row, seen in zip(rows, held_out, strict=True)
    ]
    best = choose(rows, "held_out")
    if best is None:
        return rows
    reference = held_out[rows.index(best)]
    return [
        row._replace(held_out_gap_error=standard_error_of_gap(seen, reference, sample_weights))
        for row, seen in zip(rows, held_out, strict=True)
    ]


def problem(candidate: Candidate) -> Reason | None:
    """Why a candidate cannot be chosen by any criterion; None if it can."""
    diverged = candidate.diverged or not math.isfinite(candidate.log_likelihood)
    return barred(candidate.degenerate, candidate.doubts, diverged=diverged)


def has_likelihood(candidate: Candidate) -> bool:
    """Whether its likelihood is bounded; this includes fits whose components coincide."""
    return not candidate.degenerate and not candidate.diverged and math.isfinite(candidate.log_likelihood)


def score(candidate: Candidate, criterion: str) -> float:
    """Value of a criterion for a candidate, with the sign such that lower is better; NaN if it has none.

    Args:
        candidate: fitted and judged.
        criterion: one of `OF_EACH_FIT`.

    Raises:
        InputError: there is no such criterion.
    """
    if criterion not in OF_EACH_FIT:
        raise InputError(
            "criterion",
            expected=f"one of {', '.join(OF_EACH_FIT)}",
            came=repr(criterion),
            remedy="Choose one of these.",
        )
    value: float | None = getattr(candidate, criterion)
    return math.nan if value is None else -value if criterion in LARGER_IS_BETTER else value


def choose(candidates: Sequence[Candidate], criterion: str) -> Candidate | None:
    """The best of the sound candidates by a criterion, the one with fewer parameters if two are as good.

    Args:
        candidates: fitted and judged.
        criterion: one of `OF_EACH_FIT`.

    Returns:
        None if no candidate may be chosen: each is barred or has no finite score.

    Raises:
        InputError: there is no such criterion.
    """
    scores = [score(candidate, criterion) for candidate in candidates]
    eligible = [
        (value, candidate.n_parameters, index)
        for index, (value, candidate) in enumerate(zip(scores, candidates, strict=True))
        if problem(candidate) is None and math.isfinite(value)
    ]
    return candidates[min(eligible)[-1]] if eligible else None


def remarks(candidates: Sequence[Candidate], chosen: int, criterion: str) -> list[str]:
    """Doubts about a choice, as clauses: it is at the edge of what was tried, or another may be better.

    Args:
        candidates: all that were compared.
        chosen: index of the chosen one.
        criterion: by which it was chosen.
    """
    numbers, best = [candidate.n_components for candidate in candidates], candidates[chosen]
    clauses = []
    if best.n_components == max(numbers) > min(numbers):
        clauses.append(f"{max(numbers)} components are the most that were tried: raise selection.largest")
    elif max(numbers) > best.n_components == min(numbers) > 1:
        clauses.append(f"{min(numbers)} components are the fewest that were tried: lower selection.smallest")
    missed = [
        f"{one.name} (by {doubt.nats:.2g} nats or more)"
        for one in candidates
        for doubt in one.doubts
        if doubt.reason in (Reason.MISSED, Reason.OUTDONE) and one is not best and _may_win(one, best, doubt, criterion)
    ]
    if missed:
        clauses.append(
            f"a better optimum of {listed(missed)} was missed or is degenerate, so the choice may be wrong: use "
            "more restarts"
        )
    return clauses


def _may_win(candidate: Candidate, best: Candidate, doubt: Doubt, criterion: str) -> bool:
    """Whether a candidate would be chosen if it had the likelihood that its search is known to have missed."""
    if criterion not in INFORMATION_CRITERIA:
        return True
    value = score(candidate, criterion)
    return math.isnan(value) or value - 2.0 * doubt.of_likelihood < score(best, criterion)
