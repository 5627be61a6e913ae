"""The runs of a sweep together: settings and how often each reached its best, comparisons, which runs to draw.

Separate from pictures and terminal, so that both show the same numbers and these can be tested without either. Nothing
is compared across data sets: losses of different data are different quantities.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.analysis.doubts import Reason
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER, SAME_OPTIMUM
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.overrides import override_values
from gmm_pipeline.records.sweeps import DIVERGED, FINISHED, SweepRun, differing_overrides

SEED = "seed"
K = "n_components"
SEARCH_KEYS = (SEED, "steps", "history_every", "precision", "fused", "average_loss", "threefry_partitionable")
SEARCH_GROUPS = ("optimizer", "schedule", "init")
"""Overrides that change how a loss is minimised, but not the loss; all others are assumed to change it."""


class Setting(NamedTuple):
    """The runs that differ only in their seed."""

    overrides: tuple[str, ...]
    """`key=value` of the overrides that differ between settings."""
    runs: tuple[SweepRun, ...]
    excess: Float[np.ndarray, " R"]
    """Loss of each run above the best of all that minimise the same loss, in nats; infinite if it has no result."""

    @property
    def reached(self) -> int:
        """Number of runs whose loss is the best, to the precision of `SAME_OPTIMUM`."""
        return int(np.sum(self.excess <= SAME_OPTIMUM))

    @property
    def label(self) -> str:
        """The overrides as text."""
        return " ".join(self.overrides)


def value(run: SweepRun, metric: str) -> float:
    """A metric of a run, NaN if it has no result.

    Args:
        run: of a sweep.
        metric: its name in `metrics.json`.
    """
    found = run.metrics.get(metric) if run.status == FINISHED else None
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else math.nan


def barred(run: SweepRun) -> str | None:
    """Why a finished run cannot be the best, such as an unbounded likelihood; None if it can."""
    # Records older than that metric only have the number.
    reason = run.metrics.get("barred") or ("degenerate" if run.metrics.get("n_degenerate") else None)
    return None if reason is None else str(reason)


def cost(run: SweepRun, objective: str) -> float:
    """The objective with the sign such that lower is better; infinite if a run has no result or cannot be the best.

    Args:
        run: of a sweep.
        objective: the name of a metric.
    """
    found = value(run, objective)
    if math.isnan(found) or barred(run):
        return math.inf
    return -found if objective in LARGER_IS_BETTER else found


def with_results(runs: Sequence[SweepRun], metric: str) -> list[SweepRun]:
    """The runs that can be compared: finished, with a finite metric, and not barred.

    Args:
        runs: of a sweep.
        metric: its name in `metrics.json`.
    """
    return [run for run in runs if math.isfinite(cost(run, metric))]


def same_data(runs: Sequence[SweepRun]) -> bool:
    """Whether all runs with a digest of their data have the same one."""
    return len({run.data_digest for run in runs if run.data_digest is not None}) <= 1


def n_components(run: SweepRun) -> int | None:
    """Number of components of a fit, or None where it failed."""
    found = run.metrics.get(K)
    return int(found) if isinstance(found, int | float) else None


class Fall(NamedTuple):
    """A log-likelihood that falls when components are added, which that of optima never does."""

    smaller: SweepRun
    larger: SweepRun
    nats: float


def falls(runs: Sequence[SweepRun]) -> list[Fall]:
    """Numbers of components whose best run is below that of fewer components, all else equal: optima were missed.

    A prior may lower the likelihood by an amount that records do not have, so falls up to the log priors' sum are
    allowed.
    """
    groups: dict[tuple[object, ...], dict[int, list[SweepRun]]] = {}
    for run in runs:
        if math.isnan(value(run, "log_likelihood")) or barred(run) not in (None, Reason.MISSED):
            continue
        groups.setdefault(_model(run, but=K), {}).setdefault(n_components(run) or 0, []).append(run)
    found = []
    for by_number in groups.values():
        best = [max(members, key=_log_likelihood) for _, members in sorted(by_number.items())]
        for index, larger in enumerate(best[1:], start=1):
            smaller = max(best[:index], key=_log_likelihood)
            nats = value(smaller, "log_likelihood") - value(larger, "log_likelihood")
            by_prior = sum(abs(value(run, "log_prior")) for run in (smaller, larger))
            if nats > SAME_OPTIMUM + by_prior:
                found.append(Fall(smaller, larger, nats))
    return found


def compared(runs: Sequence[SweepRun]) -> list[SweepRun]:
    """Bar runs by comparison with others: where the log-likelihood falls, those with more components are barred.

    Args:
        runs: of a sweep, as their records have them.
    """
    fallen = {(n_components(fall.larger), *_model(fall.larger, but=K)) for fall in falls(runs)}
    return [
        run._replace(metrics={**run.metrics, "barred": str(Reason.MISSED)})
        if run.status == FINISHED and barred(run) is None and (n_components(run), *_model(run, but=K)) in fallen
        else run
        for run in runs
    ]


def _log_likelihood(run: SweepRun) -> float:
    return value(run, "log_likelihood")


def _model(run: SweepRun, but: str | None = None) -> tuple[object, ...]:
    """What a run fits to which data: all overrides except those of how the loss is minimised."""
    asked = override_values(run.overrides).items()
    return run.data_digest, *sorted((key, value) for key, value in asked if not _of_search(key) and key != but)


def jitter(count: int) -> Float[np.ndarray, " R"]:
    """Offsets from −½ to ½ by the golden ratio: spread evenly however many there are, and the same each time."""
    return np.mod(0.5 + np.arange(count) * (math.sqrt(5.0) - 1.0) / 2.0, 1.0) - 0.5


def settings_of(runs: Sequence[SweepRun], objective: str) -> list[Setting]:
    """Group runs by the overrides that differ, except the seed; the setting with the best objective comes first.

    Args:
        runs: of a sweep.
        objective: the name of a metric.
    """
    keys = [key for key in differing_overrides(runs) if key != SEED]
    groups: dict[tuple[str, ...], list[SweepRun]] = {}
    for run in sorted(runs, key=lambda run: run.number):
        values = override_values(run.overrides)
        groups.setdefault(tuple(f"{key}={values[key]}" for key in keys if key in values), []).append(run)
    best = best_losses(runs)
    found = [
        Setting(
            overrides,
            tuple(members),
            np.array([cost(run, "loss") - best[run.number] if run.number in best else math.inf for run in members]),
        )
        for overrides, members in groups.items()
    ]
    return sorted(found, key=lambda setting: best_of(setting.runs, objective)[0])


def best_of(runs: Sequence[SweepRun], objective: str) -> tuple[float, SweepRun]:
    """Cost and run of the best, the first if equal; the cost is infinite if no run has a result.

    Args:
        runs: at least one.
        objective: the name of a metric.
    """
    costs = [cost(run, objective) for run in runs]
    best = int(np.argmin(costs))
    return costs[best], runs[best]


def excess_of_same_data(runs: Sequence[SweepRun], metric: str) -> Float[np.ndarray, " R"]:
    """A metric of runs with results, minus the lowest among the runs with the same data.

    Args:
        runs: [R], that have results.
        metric: its name in `metrics.json`; negated where larger is better.
    """
    values = np.array([cost(run, metric) for run in runs])
    digests = [run.data_digest for run in runs]
    lowest = {digest: min(v for v, d in zip(values, digests, strict=True) if d == digest) for digest in set(digests)}
    return values - np.array([lowest[digest] for digest in digests])


def lowest_of_each(
    counts: Int[np.ndarray, " R"], excess: Float[np.ndarray, " R"]
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The numbers of components that runs have, increasing, and the least excess of each.

    Args:
        counts: components of each run.
        excess: of each run above the best.
    """
    numbers = np.unique(counts)
    return numbers, np.array([excess[counts == number].min() for number in numbers])


def failures(runs: Sequence[SweepRun], keys: Sequence[str], most: int, *, joined: str) -> list[str]:
    """The runs without a result, each with its settings and the reason.

    Args:
        runs: of a sweep.
        keys: of the overrides that differ between them.
        most: lines, at most.
        joined: what stands between overrides.
    """
    lines = []
    for run in [run for run in runs if run.status != FINISHED][:most]:
        label = joined.join(settings_within(run, keys))
        reason = run.error or ("its loss or parameters are not finite" if run.status == DIVERGED else "no reason given")
        lines.append(f"run {run.number}{f' ({label})' if label else ''} {run.status}: {reason}")
    return lines


def settings_within(run: SweepRun, keys: Sequence[str]) -> list[str]:
    """`key=value` of the overrides of a run for given keys, in the order of the keys.

    Args:
        run: of a sweep.
        keys: dotted keys of the config.
    """
    asked = override_values(run.overrides)
    return [f"{key}={asked[key]}" for key in keys if key in asked]


def even_choice(labels: Sequence[str], most: int) -> Int[np.ndarray, " C"]:
    """Indices of at most `most` runs, increasing, with about the same number, at least one, of each label.

    Runs of a label are chosen by the golden ratio rather than every n-th: sweeps vary values in regular steps, and
    every n-th run might have the same seed or number of components.

    Args:
        labels: [R], one for each run.
        most: how many runs are wanted at most.
    """
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label, []).append(index)
    share = max(most // max(len(groups), 1), 1)
    chosen = [
        members[i] for members in groups.values() for i in np.argsort(jitter(len(members)), kind="stable")[:share]
    ]
    return np.sort(np.array(chosen, np.int64))


def quantile_of_runs(values: Float[np.ndarray, "R S"], share: float) -> Float[np.ndarray, " S"]:
    """The least value that at least a share of the runs does not exceed; not averaged, so infinities are allowed.

    Args:
        values: [R, S], of R runs at S steps.
        share: from 0 to 1.
    """
    return np.sort(values, axis=0)[max(math.ceil(share * len(values)) - 1, 0)]


def best_losses(runs: Sequence[SweepRun]) -> dict[int, float]:
    """Best loss, by number of the run, of all runs that minimise the same loss, in nats.

    Two runs minimise the same loss if they differ at most in how it is minimised. Runs that diverged are included;
    those that failed, or that have no comparable finished run, are left out.
    """

    def comparable(run: SweepRun) -> tuple[object, ...]:
        return n_components(run), *_model(run)

    best: dict[tuple[object, ...], float] = {}
    for run in with_results(runs, "loss"):
        best[comparable(run)] = min(value(run, "loss"), best.get(comparable(run), math.inf))
    return {run.number: best[comparable(run)] for run in runs if run.metrics and comparable(run) in best}


def _of_search(key: str) -> bool:
    return key in SEARCH_KEYS or re.split("[.@]", key, maxsplit=1)[0] in SEARCH_GROUPS


class Band(NamedTuple):
    """Excess loss of several runs over the steps, in nats, not below `SAME_OPTIMUM`."""

    steps: Int[np.ndarray, " S"]
    low: Float[np.ndarray, " S"]
    middle: Float[np.ndarray, " S"]
    high: Float[np.ndarray, " S"]
    n_lost: int
    """Runs whose loss did not stay finite."""
    n_runs: int


def band(histories: Sequence[History], zeros: Float[np.ndarray, " R"]) -> Band:
    """Median and quartiles of losses above each run's zero, at the steps of the longest history.

    Args:
        histories: [R], at least one.
        zeros: [R], what is subtracted from the losses of each run, in nats.
    """
    steps = max((history.steps for history in histories), key=lambda steps: (int(steps[-1]), len(steps)))
    excess = np.stack([losses_at(steps, history) for history in histories]) - zeros[:, None]
    low, middle, high = (np.maximum(quantile_of_runs(excess, share), SAME_OPTIMUM) for share in (0.25, 0.5, 0.75))
    n_lost = sum(not np.isfinite(history.losses).all() for history in histories)
    return Band(steps, low, middle, high, n_lost, len(histories))


def losses_at(steps: Int[np.ndarray, " S"], history: History) -> Float[np.ndarray, " S"]:
    """Interpolate losses between history entries; infinite once a loss is not finite, constant after the last.

    Args:
        steps: [S], where losses are wanted.
        history: of one run.
    """
    finite = np.isfinite(history.losses)
    n_finite = len(finite) if finite.all() else int(np.argmin(finite))
    if n_finite == 0:
        return np.full(len(steps), np.inf)
    found = np.interp(steps, history.steps[:n_finite], history.losses[:n_finite])
    return found if n_finite == len(finite) else np.where(steps > history.steps[n_finite - 1], np.inf, found)
