"""How far an answer can be trusted, as clauses for terminal, log and record."""

from collections.abc import Collection, Mapping
from typing import Any

from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.doubts import clause_of
from gmm_pipeline.analysis.estimates import Asked
from gmm_pipeline.analysis.likelihood_ratio import LikelihoodRatioTest
from gmm_pipeline.analysis.selection import remarks
from gmm_pipeline.inference.jobs import ORDINARY, Searched
from gmm_pipeline.model.vocabulary import OUTCOMES, REACHED

NEXT_TO_NOTHING = 0.05
"""Standard errors; a gradient this short may be what single precision leaves of none."""


def about_choice(asked: Asked, answer: Answer) -> list[str]:
    """Doubts about the choice of the number of components, if one was made.

    Args:
        asked: what the run asked for.
        answer: its answer.
    """
    if not answer.candidates:
        return []
    clauses = remarks(answer.candidates, answer.chosen, asked.criterion)
    return [*clauses, *models_left_out(asked, {(one.n_components, one.covariance) for one in answer.candidates})]


def _few_data(metrics: Mapping[str, Any]) -> list[str]:
    n_parameters, n_data = metrics.get("n_parameters", 0), metrics.get("sum_of_weights", metrics.get("n_data", 0))
    if n_parameters <= n_data:
        return []
    return [
        f"{n_parameters:,} parameters were estimated from {n_data:,.6g} observations: errors are larger than they "
        "seem, and BIC or AIC may prefer such a fit by chance; compare simpler ones by folds=5 criterion=held_out"
    ]


def models_left_out(asked: Asked, compared: Collection[tuple[int, str]]) -> list[str]:
    """Which covariance models were not compared, and from which number of components on; a clause, or none.

    Args:
        asked: what the run asked for.
        compared: numbers of components and models.
    """
    models: dict[int, list[str]] = {}
    for model in asked.covariances:
        without = [number for number in sorted(asked.numbers) if number > 1 and (number, model) not in compared]
        if without:
            models.setdefault(without[0], []).append(model)
    if not models:
        return []
    named = "; ".join(f"from {number} components on {', '.join(some)}" for number, some in sorted(models.items()))
    return [f"the data are too few for each component to have its own extent in all directions, so left out: {named}"]


def verdict(asked: Asked, answer: Answer) -> list[str]:
    """How far an answer can be trusted, as clauses; problems come first.

    Args:
        asked: what the run asked for.
        answer: its answer.
    """
    metrics, clauses = answer.metrics, []
    if answer.diverged:
        return ["it diverged: its numbers are not a result"]
    if answer.degenerate:
        clauses.append(_degenerate(answer))
    clauses += [clause_of(doubt, of_columns=bool(answer.covariance)) for doubt in answer.doubts]
    if "scale_floor" in metrics:
        clauses.append(
            "different data lie closer together than scale_floor, so that it does not hold for their components: "
            f"scale_floor_of_many={metrics['scale_floor']:g} does"
        )
    clauses += [*about_choice(asked, answer), *_few_data(metrics)]
    steps, norm = metrics["n_steps"], metrics["gradient_norm"]
    if "minibatch" in metrics:
        clauses.append(
            f"each of {steps:,} steps saw {metrics['minibatch']:,} of {metrics['n_data']:,} observations; by all, "
            f"its gradient is {norm:.2g} standard errors long; more steps or a larger minibatch make that less"
        )
    elif metrics["converged"]:
        last = f", the last {metrics['n_finishing']:,} by accelerated EM" if "n_finishing" in metrics else ""
        clauses.append(f"converged in {steps:,} steps{last}")
    elif steps == 0:
        clauses.append(
            f"not converged: as the search left it, its gradient is {norm:.2g} standard errors long, not less than "
            "gradient_tolerance"
        )
    else:
        clauses.append(
            f"not converged in {steps:,} steps: its gradient is {norm:.2g} standard errors long; use more steps, or "
            f"another optimizer{', or precision=float64' if answer.is_single and norm < NEXT_TO_NOTHING else ''}"
        )
    clauses += _reached(answer)
    clauses += [_tested(test) for test in answer.tests]
    if asked.likelihood_ratio and not answer.tests:
        clauses.append("no likelihood-ratio test: what a degenerate fit has as likelihood cannot be tested")
    clauses += [f"learned {name}: {value:.4g}" for name, value in answer.learned.items()]
    if "held_out" in metrics:
        clauses.append(
            f"held-out log-likelihood {metrics['held_out']:.3f} ± {metrics['held_out_error']:.3f} nats, "
            f"{asked.folds} folds"
        )
    if metrics.get("bootstrap_dropped"):
        clauses.append(f"{metrics['bootstrap_dropped']:,} of {asked.bootstrap:,} replicates had no sound fit")
    return clauses


def _degenerate(answer: Answer) -> str:
    several, which = len(answer.degenerate) > 1, ", ".join(map(str, answer.degenerate))
    where, remedy = "at the floor of the scales", "scales=equal or a prior on scales"
    if answer.covariance:
        where, remedy = f"{where} in some direction", "a smaller covariance model such as covariance=tied"
    total = answer.metrics.get("sum_of_weights", answer.metrics["n_data"])
    own = ", ".join(f"{answer.fitted.weights[one] * total:,.1f}" for one in answer.degenerate)
    floor = "scale_floor_of_many" if "scale_floor" in answer.metrics else "scale_floor"
    return (
        f"component{'s' * several} {which} degenerate: {where} or with too few observations (the weight of "
        f"{own}), where the likelihood is unbounded; use fewer components, {remedy}, or a lower {floor} and "
        "fewest_data if they are real"
    )


def _tested(test: LikelihoodRatioTest) -> str:
    said = (
        f"likelihood-ratio test of {test.n_components} against {test.n_components + 1} components: statistic "
        f"{test.statistic:.3f}, p = {test.p_value:.3g} from {len(test.replicates) - test.n_failed:,} replicates"
    )
    if test.n_missed:
        said += f"; the search failed in {test.n_missed:,} of them: p is between {test.least_p_value:.3g} and that"
    if test.n_improved:
        said += (
            f"; of {test.n_refitted:,} that were fitted again {test.n_improved:,} improved, so others may too: "
            "more restarts make p more reliable, and larger"
        )
    return said


def _reached(answer: Answer) -> list[str]:
    """Whether the optimum is likely the best, and how the training that is shown reached it."""
    outcomes = [restart.outcome for restart in answer.restarts]
    reached, total = outcomes.count(REACHED), len(outcomes)
    searched = answer.searched
    if searched is None and total == 1:
        return ["one start: whether others would reach a better optimum is unknown"]
    others = {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome != REACHED}
    ended = ", ".join(f"{count:,} {outcome}" for outcome, count in others.items() if count)
    how = f" ({ended})" if ended else ""
    starts = f"{reached:,} of {total:,} starts"
    if searched is None:
        return [f"{starts} reached the best optimum of all starts{how}"]
    clauses = [_of_search(searched, seen_of(answer.metrics, of_columns=bool(answer.covariance)))]
    if searched.began == ORDINARY:
        clauses.append(f"{starts} reached it{how}")
    elif total:
        clauses.append(f"none of {total:,} starts reached it{how}; the training shown began at {searched.began}")
    return clauses


def seen_of(metrics: Mapping[str, Any], *, of_columns: bool) -> str:
    """What searches and starts saw in place of large data, as the end of a clause; empty where they saw all data.

    Args:
        metrics: of the fit.
        of_columns: whether the data have several columns.
    """
    n_condensed = metrics.get("n_condensed")
    if not n_condensed:
        return ""
    seen = f"{n_condensed:,} groups of neighbouring observations"
    if of_columns:
        seen = f"a random {n_condensed:,} of the observations"
    return f" in {seen}, and it was improved on all {metrics['n_data']:,}"


def _of_search(searched: Searched, seen: str) -> str:
    agreeing, total = searched.n_agreeing, searched.n_searches
    if agreeing > 1:
        said = f"{agreeing:,} of {total:,} independent searches found this optimum{seen}"
    else:
        said = "no independent search found this optimum" if not agreeing else "only one search found this optimum"
        said = f"{said}{seen}: whether it is the best is unknown; use more search.rounds"
    return said if searched.gap is None else f"{said}; the next best optimum is {searched.gap:.2f} nats lower"
