"""How far an answer can be trusted, in clauses, as terminal, log and record have them."""

from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.doubts import words
from gmm_pipeline.analysis.estimates import Asked
from gmm_pipeline.analysis.likelihood_ratio import LikelihoodRatioTest
from gmm_pipeline.analysis.selection import remarks
from gmm_pipeline.inference.jobs import ORDINARY, Searched
from gmm_pipeline.model.vocabulary import OUTCOMES, REACHED


def about_choice(asked: Asked, found: Answer) -> list[str]:
    """What speaks against the choice of the number of components, where one was made.

    Args:
        asked: what the run asked for.
        found: its answer.
    """
    return remarks(found.candidates, found.chosen, asked.criterion) if found.candidates else []


def verdict(asked: Asked, found: Answer) -> list[str]:
    """How far an answer can be trusted, in words; what is wrong with it first.

    Args:
        asked: what the run asked for.
        found: its answer.
    """
    metrics, told = found.metrics, []
    if found.diverged:
        return ["it diverged: its numbers are no result"]
    if found.degenerate:
        which = ", ".join(map(str, found.degenerate))
        told.append(
            f"component{'s' * (len(found.degenerate) > 1)} {which} degenerate: at the floor of the scales or with too "
            "few data, where a likelihood has no bound; use fewer components, scales=equal or a prior on scales, or a "
            "lower scale_floor and fewest_data if they are real"
        )
    told += [words(doubt) for doubt in found.doubts]
    told += about_choice(asked, found)
    steps, norm = metrics["n_steps"], metrics["gradient_norm"]
    if metrics["converged"]:
        told.append(f"converged in {steps:,} steps")
    else:
        told.append(
            f"not converged in {steps:,} steps: its gradient is {norm:.2g} standard errors long; use more steps, or "
            "another optimizer"
        )
    told += _reached(found)
    told += [_tested(test) for test in found.tests]
    told += [f"learned {name}: {value:.4g}" for name, value in found.learned.items()]
    if "held_out" in metrics:
        told.append(
            f"held-out log-likelihood {metrics['held_out']:.3f} ± {metrics['held_out_error']:.3f} nats, "
            f"{asked.folds} folds"
        )
    if metrics.get("bootstrap_dropped"):
        told.append(f"{metrics['bootstrap_dropped']:,} of {asked.bootstrap:,} replicates had no sound fit")
    return told


def _tested(test: LikelihoodRatioTest) -> str:
    said = (
        f"likelihood-ratio test of {test.n_components} against {test.n_components + 1} components: "
        f"statistic {test.statistic:.3f}, p = {test.p_value:.3g} by {len(test.replicates) - test.n_failed:,} replicates"
    )
    if test.n_missed:
        said += f"; the search failed in {test.n_missed:,} of them: p is between {test.least_p_value:.3g} and that"
    if test.n_improved:
        said += (
            f"; of {test.n_refitted:,} that were fitted again {test.n_improved:,} improved, so that others may too: "
            "more restarts make p surer, and larger"
        )
    return said


def _reached(found: Answer) -> list[str]:
    """What is known of whether the optimum is the best, and how the training that is shown came to it."""
    outcomes = [restart.outcome for restart in found.restarts]
    reached, total = outcomes.count(REACHED), len(outcomes)
    searched = found.searched
    if searched is None and total == 1:
        return ["one start: whether others reach a better optimum is not known"]
    others = {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome != REACHED}
    ended = ", ".join(f"{count:,} {outcome}" for outcome, count in others.items() if count)
    starts = f"{reached:,} of {total:,} starts"
    if searched is None:
        return [f"{starts} reached the best optimum that any did{f' ({ended})' if ended else ''}"]
    told = [_of_search(searched)]
    if searched.began == ORDINARY:
        told.append(f"{starts} reached it{f' ({ended})' if ended else ''}")
    elif total:
        told.append(f"none of {total:,} starts reached it ({ended}); the training shown began at {searched.began}")
    return told


def _of_search(searched: Searched) -> str:
    agreeing, total = searched.n_agreeing, searched.n_searches
    if agreeing > 1:
        said = f"{agreeing:,} of {total:,} independent searches found this optimum"
    else:
        found = "no independent search found this optimum" if not agreeing else "one search alone found this optimum"
        said = f"{found}: whether it is the best is unknown; use more search.rounds"
    return said if searched.gap is None else f"{said}; the next best seen is {searched.gap:.2f} nats lower"
