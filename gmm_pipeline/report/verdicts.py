"""A verdict on each thing that may be wrong with a fit, and an overall verdict.

A verdict says no more than the numbers do: "agrees" means that nothing was found against it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gmm_pipeline.analysis.agreement import FEW_DATA, Calibration, Quantiles, kolmogorov
from gmm_pipeline.analysis.columns_agreement import Distances, deviations
from gmm_pipeline.analysis.curves import LEAST_NAMED
from gmm_pipeline.analysis.deviations import Null
from gmm_pipeline.analysis.wording import seen_of
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.vocabulary import OUTCOMES, REACHED
from gmm_pipeline.records.reading import Record
from gmm_pipeline.report.wording import many, number, plural

GOOD, CAUTION, BAD, UNKNOWN = "good", "caution", "bad", "unknown"
SIGNS = {GOOD: "✓", CAUTION: "!", BAD: "✕", UNKNOWN: "?"}
CLEARLY = 0.02
"""A probability this small, as a share of what already counts against a fit, leaves no doubt."""
DOUBTS = {
    "collapsing": ("Components", "a component may collapse"),
    "coincident": ("Components", "components coincide"),
    "saddle": ("Optimum", "this is no maximum"),
    "missed": ("Optimum", "a better optimum was missed"),
    "redundant": ("Optimum", "a component more gains nothing"),
    "rounded": ("Components", "a component is an artefact of rounding"),
    "outdone": ("Optimum", "a better optimum was missed"),
    "tied": ("Optimum", "many data have the same value"),
    "unresolved": ("Precision", "data differ by less than the precision"),
    "narrow": ("Components", "a better mixture was left out"),
    "one_value": ("Components", "a better mixture was left out"),
    "unseen": ("Components", "a loc is not determined"),
    "few": ("Components", "a component has few data"),
    "choice": ("Number of components", "the choice may be another"),
}
"""What each reason is about, and in short what it says."""


class Finding(NamedTuple):
    """The verdict on one question: its level, the question, the answer, and the reason."""

    level: str
    title: str
    verdict: str
    words: str

    @property
    def sign(self) -> str:
        """Distinguishes the levels without colour."""
        return SIGNS[self.level]


def headline(run: Record, findings: Sequence[Finding]) -> Finding:
    """The overall verdict: the worst of the findings, and what they are.

    Args:
        run: the record.
        findings: the verdicts on single questions.
    """
    if not run.finished:
        return Finding(
            BAD, "verdict", "This run diverged and has no result", _sentence([str(run.about.get("error", ""))])
        )
    levels = [finding.level for finding in findings]
    against = [finding for finding in findings if finding.level in (BAD, CAUTION)]
    level = BAD if BAD in levels else CAUTION if CAUTION in levels else GOOD
    if not against:
        answers = [finding.verdict for finding in findings]
        return Finding(GOOD, "verdict", "No problems found", _sentence(answers))
    title = "Read this fit with care" if level == CAUTION else "Do not rely on this fit"
    return Finding(level, "verdict", title, _sentence([finding.verdict for finding in against]))


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + "." if text else ""


def convergence(run: Record) -> Finding:
    """Whether the optimizer converged."""
    steps, norm = run.metrics.get("n_steps"), run.metrics.get("gradient_norm")
    converged = run.metrics.get("converged")
    if converged is None:
        return Finding(UNKNOWN, "Convergence", "not recorded", "This record does not say whether the fit converged.")
    at = f"its gradient is {norm:.2g} standard errors long" if norm is not None else "its gradient is unknown"
    if converged:
        words = f"The training stopped after {plural(steps or 0, 'step')}: a step gained almost nothing, and {at}."
        if finishing := run.metrics.get("n_finishing"):
            words = f"The optimizer used all its steps; {finishing:,} of accelerated EM ended at the optimum: {at}."
        return Finding(GOOD, "Convergence", f"converged in {plural(steps or 0, 'step')}", words)
    words = f"It used all of its {plural(steps or 0, 'step')}, and {at}. Use more steps, or another optimizer."
    if steps == 0:
        words = f"It is where the search left it, and {at}, not less than `gradient_tolerance`."
    return Finding(CAUTION, "Convergence", "did not converge", words)


def search(run: Record) -> Finding:
    """Whether independent searches agree on the optimum; of a fit without a search, how many starts reached it."""
    agree, total = run.metrics.get("searches_agree"), run.metrics.get("searches")
    if agree is None or total is None:
        return hits(run)
    gap = run.metrics.get("gap_to_next")
    next_best = "" if gap is None else f" The next best optimum seen is {gap:.2f} nats lower."
    seen = seen_of(run.metrics, of_columns=run.data.ndim > 1)
    if agree > 1:
        words = f"{agree} of {total} independent searches found this optimum{seen}.{next_best}"
        return Finding(GOOD, "Search", f"{agree} of {total} independent searches agree", words)
    finders = "Only one search" if agree else "No independent search"
    words = f"{finders} found this optimum{seen}, so a better one may exist: use more search.rounds.{next_best}"
    return Finding(CAUTION, "Search", f"{finders.lower()} found it", words)


def hits(run: Record) -> Finding:
    """How many starts reached the best optimum."""
    outcomes = [one["outcome"] for one in run.restarts]
    total, reached = len(outcomes), outcomes.count(REACHED)
    if total < 2:
        words = "It is not known whether other starts reach a better optimum: use restarts=4 or more."
        return Finding(UNKNOWN, "Restarts", "one start only", words)
    others = [f"{outcomes.count(name)} {name}" for name in OUTCOMES if name in outcomes and name != REACHED]
    ended = f" The others: {', '.join(others)}." if others else ""
    said = f"{reached} of {total} starts reached the best optimum"
    if reached == total:
        return Finding(GOOD, "Restarts", f"all {total} starts agree", f"{said}: no start found a better one.")
    if reached > 1:
        return Finding(GOOD, "Restarts", f"{reached} of {total} starts agree", f"{said}.{ended}")
    words = f"{said}.{ended} If few starts reach it, a better one may exist."
    return Finding(CAUTION, "Restarts", f"only {reached} of {total} starts found it", words)


def soundness(run: Record) -> Finding:
    """Whether a component has collapsed."""
    if run.degenerate:
        which = ", ".join(map(str, run.degenerate))
        where, remedy = "", "scales=equal or a prior on scales"
        if isinstance(run.fitted, MultivariateMixture):
            where, remedy = " in some direction", "or a smaller covariance model such as covariance=tied"
        words = (
            f"Component{'s' * (len(run.degenerate) > 1)} {which}: at the floor of the scales{where} or with too few "
            f"observations, where the likelihood is unbounded. Use fewer components, {remedy}."
        )
        return Finding(BAD, "Components", f"{plural(len(run.degenerate), 'degenerate component')}", words)
    if run.metrics.get("n_degenerate") is None:
        return Finding(UNKNOWN, "Components", "not recorded", "This record does not say whether a component collapsed.")
    words = "Each component has enough observations and a scale above the floor."
    return Finding(GOOD, "Components", "no component is degenerate", words)


def doubts(run: Record) -> list[Finding]:
    """What else was found to speak against the fit, or against the choice of the number of components."""
    recorded = [(one["reason"], one["bars"], one["words"]) for one in run.about.get("doubts", [])]
    return [
        Finding(BAD if bars else CAUTION, *DOUBTS.get(reason, ("Optimum", reason)), _sentence([words]))
        for reason, bars, words in recorded
    ]


def agreement(run: Record, calibration: Calibration, null: Null | None, quantiles: Quantiles, level: float) -> Finding:
    """Whether the data look like draws of the mixture.

    Args:
        run: the record.
        calibration: the empirical and the fitted CDF.
        null: distribution of the deviation for a fitted mixture; None if it could not be computed.
        quantiles: with their bands.
        level: of the bands; a p-value below one less this counts against the fit.
    """
    root = math.sqrt(calibration.total)
    largest = calibration.largest
    said = (
        f"The empirical CDF of {number(calibration.total)} observations is nowhere farther than D = {largest:.4f} from "
        f"the fitted one, {largest * root:.2f}/√n; {100.0 * quantiles.share_within:.0f} % of the quantiles lie in the "
        f"{100.0 * level:g} % band."
    )
    rounding = (
        f" A step of {calibration.largest_step:.2g} of the CDF is one value of the data: rounding contributes to D."
        if calibration.is_rounded
        else ""
    )
    if null is None:
        words = f"{said}{rounding} With a degenerate component no probability can be given for D."
        return Finding(UNKNOWN, "Agreement with the data", f"D = {largest * root:.2f}/√n", words)
    p_value = null.p_value
    small = p_value < 0.001
    p_text = "p < 0.001" if small else f"p = {p_value:.2g}"
    few = f" With fewer than {FEW_DATA} observations this is a rough guide." if calibration.total < FEW_DATA else ""
    words = (
        f"{said}{rounding} The mixture was fitted to the same data, so that Kolmogorov's p-value is not valid; "
        f"allowing for that (Durbin 1973), draws of the mixture deviate as far with probability "
        f"{'below 0.001' if small else f'{p_value:.2g}'}.{few}"
    )
    if p_value < CLEARLY * (1.0 - level):
        return Finding(BAD, "Agreement with the data", f"the data do not look like the mixture ({p_text})", words)
    if p_value < 1.0 - level:
        return Finding(CAUTION, "Agreement with the data", f"the data differ from the mixture ({p_text})", words)
    return Finding(GOOD, "Agreement with the data", f"the data agree with the mixture ({p_text})", words)


NO_COMPLETE_COLUMN = Finding(
    UNKNOWN,
    "Agreement with the data",
    "not compared",
    "Each column has missing cells, and only columns without are compared.",
)


def agreement_of_columns(
    calibrations: Sequence[Calibration], distances: Sequence[Distances], columns: Sequence[str], level: float
) -> Finding:
    """Whether each column by itself, and the distances within components, look like draws of the mixture.

    Kolmogorov's limit holds for a mixture that was fixed beforehand; a fitted one stays farther below it, so that a
    column beyond it counts against the mixture, while one below it is no proof. Several columns share the probability.

    Args:
        calibrations: of the columns.
        distances: of the components.
        columns: names of the columns.
        level: of the bands.
    """
    largest = deviations(calibrations)
    beyond = np.flatnonzero(largest > kolmogorov(1.0 - (1.0 - level) / len(columns)))
    worst = int(np.argmax(largest))
    said = f"Of all columns {columns[worst]} deviates most from its marginal mixture, by {largest[worst]:.2f}/√n."
    if distances:
        inside = np.concatenate([(one.squared >= one.lower) & (one.squared <= one.upper) for one in distances])
        share = 100.0 * float(inside.mean())
        said += (
            f" {share:.0f} % of the quantiles of squared distances from the components lie in the {100.0 * level:g} % "
            f"band of χ²({len(columns)})."
        )
    if beyond.size:
        names = ", ".join(columns[column] for column in beyond.tolist())
        words = f"{said} Draws of the mixture deviate as far in less than {100.0 * (1.0 - level):.2g} % of all cases."
        return Finding(CAUTION, "Agreement with the data", f"the data differ from the mixture in {names}", words)
    return Finding(GOOD, "Agreement with the data", "each column agrees with its marginal mixture", said)


def recovery(run: Record) -> Finding | None:
    """How far the answer is from the truth, where that is known."""
    if run.truth is None:
        return None
    count = int(np.count_nonzero(run.fitted.weights >= LEAST_NAMED)) if many(run) else len(run.fitted.locs)
    same = len(run.truth.locs) == count
    rand, farthest = run.metrics.get("adjusted_rand_index"), run.metrics.get("largest_z")
    labels = f" Labels agree with the true ones by an adjusted Rand index of {rand:.3f}." if rand is not None else ""
    if not same:
        words = f"The data were made by {plural(len(run.truth.locs), 'component')}, not {count}.{labels}"
        return Finding(CAUTION, "Truth", "a different number of components than the truth", words)
    if farthest is None:
        return Finding(UNKNOWN, "Truth", "not comparable", f"The true mixture is known.{labels}")
    # Of 3K − 1 parameters the farthest is beyond 3 standard errors in a few per cent of the fits.
    words = f"The parameter farthest from its true value is {farthest:.1f} standard errors off.{labels}"
    if farthest > 4.0:
        return Finding(CAUTION, "Truth", f"a parameter is {farthest:.1f} standard errors off", words)
    return Finding(GOOD, "Truth", "the truth is recovered", words)
