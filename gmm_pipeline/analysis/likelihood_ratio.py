"""Are K components enough? The likelihood-ratio test of K against K + 1 by parametric bootstrap.

The statistic −2 log λ has no chi-squared distribution here, since K components lie on the boundary of K + 1. So its
distribution is that over replicates: data drawn from the fit of K, each fitted with K and with K + 1 as the observed
data are (McLachlan 1987; McLachlan & Peel 2000, §6.4). All replicates' fits of a kind are one batch. The price is their
number: for each replicate twice the usual restarts, one fit started at the mixture that generated it, and K fits
started at its fit of K with one component split.

A component split in halves gives K + 1 components with the same likelihood, so the statistic of an optimum is never
negative. Where it is, the search failed and is repeated several times. The data are searched exactly as each replicate
is: a test that searched longer for the data alone would reject too often. The replicates ranked next below the data are
searched again, because their ranks decide the p-value, which can only grow; replicates that still fail count as larger
than the data's statistic, and those that improved are counted. The price: repeated starts for a few times as many
replicates as failed, and a statistic of the data that a longer search may raise. Priors should be flat, because
likelihoods are compared.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Num, PRNGKeyArray

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import diagnostics
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.scaling import identity_of
from gmm_pipeline.model.mixture import AnyArray, sample_multinomial
from gmm_pipeline.model.multivariate import AnyParameters, natural_of
from gmm_pipeline.model.multivariate_draws import draw_multinomial
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM

Key = PRNGKeyArray | Num[AnyArray, "2"]
FitAll = Callable[[Sequence[FitJob]], list[FitResult]]

MISSED = 2.0 * SAME_OPTIMUM
"""A statistic below minus this means a failed search; the tolerances of the fits cause smaller errors."""
NEAREST = 10
"""Most replicates next below the data that are fitted again, which bounds the cost."""
FARTHEST = 40.0
"""A replicate that is farther below is not fitted again: of data from the smaller model, no search misses so much."""
TIMES = 4
"""How often they are fitted again, each time from other starts."""


class LikelihoodRatioTest(NamedTuple):
    """K components against K + 1."""

    n_components: int
    """K, of the null hypothesis."""
    statistic: float
    """−2 log λ = 2 (ℓ_{K+1} − ℓ_K) of the data, in nats; not negative."""
    p_value: float
    """Upper bound: replicates whose search failed count as larger than the data's statistic."""
    replicates: Float[np.ndarray, " B"]
    """The statistic of each replicate; NaN if K components had no sound fit, 0 if the search of K + 1 failed."""
    n_refitted: int = 0
    """Replicates that were fitted again, several times."""
    n_improved: int = 0
    """Those whose statistic grew, because the usual search had missed the optimum."""
    n_missed: int = 0
    """Replicates whose larger model still ended below the smaller one, so that their statistic is unknown."""

    @property
    def n_failed(self) -> int:
        """Replicates without a statistic."""
        return int(np.isnan(self.replicates).sum())

    @property
    def least_p_value(self) -> float:
        """Lower bound: the p-value if replicates whose search failed were smaller than the data's statistic."""
        return self.p_value - self.n_missed / (1 + len(self.replicates) - self.n_failed)


class SequentialTest(NamedTuple):
    """Tests of K against K + 1 for growing K, up to the first that does not reject."""

    tests: tuple[LikelihoodRatioTest, ...]
    n_components: int
    """The smallest K that is not rejected, or the largest there was."""
    all_rejected: bool
    """Whether every K that could be tested was rejected, so that more components should be allowed."""


def bootstrap_test(
    null: FitJob, fitted: FitResult, *, n_replicates: int, key: Key, fit_all: FitAll
) -> LikelihoodRatioTest:
    """Test whether K components are enough, against K + 1.

    The p-value is (1 + #{replicates ≥ observed}) / (B + 1), so that a test at level α rejects a true K with
    probability α at most if (B + 1) α is a whole number (Davison & Hinkley 1997).

    A replicate has as many data as the sample weights add up to, each of weight 1, since weights are counts. It lacks
    the cells that the data lack, so that the test holds where they are missing whatever their values and those of the
    other columns are (Little & Rubin 2002, ch. 1).

    Args:
        null: the fit of K components.
        fitted: its result, sound.
        n_replicates: B.
        key: draws the replicates and the starts of their fits.
        fit_all: runs fits, in whatever batches.

    Raises:
        InputError: there is no replicate, or the fit of K is not sound.
    """
    if n_replicates < 1:
        raise InputError(
            "replicates",
            expected="1 or more, such as 99 or 999",
            came=str(n_replicates),
            remedy="A level of 5 % needs 19 at least.",
        )
    if not _is_sound(fitted):
        raise InputError(
            "n_components",
            expected="a fit that neither diverged nor collapsed",
            came=f"one of {null.plan.n_components} components that did",
            remedy="Allow fewer components, or raise scale_floor.",
        )
    key_data, key_fits, key_observed = jax.random.split(key, 3)
    of_data = null._replace(key=key_observed)
    nulls, results = _fit_nulls(null, fitted, n_replicates, key_data, key_fits, fit_all)
    nulls, results = [of_data, *nulls], [fitted, *results]
    statistics = np.array(_statistics(nulls, results, fit_all))
    again = _worth_another_search(statistics)
    more = _searched_again([nulls[i] for i in again], [results[i] for i in again], fit_all)
    first = np.maximum(statistics, 0.0)
    statistics[again] = np.maximum(statistics[again], more)
    observed, replicates = max(statistics[0], 0.0), statistics[1:]
    missed, again = replicates < -MISSED, again[again > 0]
    valid = ~np.isnan(replicates)
    return LikelihoodRatioTest(
        n_components=null.plan.n_components,
        statistic=float(observed),
        p_value=float((1 + np.sum(valid & (missed | (np.maximum(replicates, 0.0) >= observed)))) / (1 + np.sum(valid))),
        replicates=np.maximum(replicates, 0.0),
        n_refitted=len(again),
        n_improved=int(np.sum(statistics[again] > first[again] + MISSED)),
        n_missed=int(np.sum(missed)),
    )


def smallest_not_rejected(
    jobs: Sequence[FitJob],
    results: Sequence[FitResult],
    *,
    level: float,
    n_replicates: int,
    key: Key,
    fit_all: FitAll,
) -> SequentialTest:
    """Test K against K + 1 for growing K until a test does not reject; that K is chosen (McLachlan & Peel 2000, §6.5).

    The largest K is not tested, since there is none above it. A K without a sound fit ends the sequence.

    Args:
        jobs: fits of K, K + 1, K + 2, … components and one kind of scales or covariances; two at least.
        results: of these; the first is sound.
        level: α, of each test.
        n_replicates: B, of each test.
        key: draws the replicates and the starts of their fits.
        fit_all: runs fits, in whatever batches.

    Raises:
        InputError: the numbers of components are not consecutive, the first fit is not sound, or there is no replicate.
    """
    numbers = [job.plan.n_components for job in jobs]
    if len(numbers) < 2 or numbers != list(range(numbers[0], numbers[-1] + 1)):
        raise InputError(
            "n_components",
            expected="two or more consecutive numbers of components to test",
            came=str(numbers),
            remedy="Set different bounds.",
        )
    tests: list[LikelihoodRatioTest] = []
    for job, result in zip(jobs[:-1], results[:-1], strict=True):
        if tests and not _is_sound(result):
            return SequentialTest(tuple(tests), tests[-1].n_components, all_rejected=True)
        own_key = jax.random.fold_in(key, job.plan.n_components)
        tests.append(bootstrap_test(job, result, n_replicates=n_replicates, key=own_key, fit_all=fit_all))
        if tests[-1].p_value > level:
            return SequentialTest(tuple(tests), tests[-1].n_components, all_rejected=False)
    largest = numbers[-1] if _is_sound(results[-1]) else numbers[-2]
    return SequentialTest(tuple(tests), largest, all_rejected=True)


def _fit_nulls(
    null: FitJob, fitted: FitResult, n_replicates: int, key_data: Key, key_fits: Key, fit_all: FitAll
) -> tuple[list[FitJob], list[FitResult]]:
    """Replicates of the data, and the best fit of K components to each: from the usual starts or from the truth."""
    jobs = [
        _one_of_many(null)._replace(data=data, sample_weights=np.ones(len(data), data.dtype), key=key)
        for data, key in zip(
            _replicates(null, fitted, n_replicates, key_data), jax.random.split(key_fits, n_replicates), strict=True
        )
    ]
    from_truth = [_from(job, fitted.parameters) for job in jobs]
    found = fit_all([*jobs, *from_truth])
    pairs = zip(jobs, found[:n_replicates], found[n_replicates:], strict=True)
    return jobs, [_best(job, results)[0] or results[0] for job, *results in pairs]


def _replicates(null: FitJob, fitted: FitResult, n_replicates: int, key: Key) -> Float[np.ndarray, "B n ..."]:
    mixture = natural_of(fitted.parameters)
    keys = jax.random.split(key, n_replicates)
    n_data = round(float(np.sum(null.sample_weights, dtype=np.float64)))
    if isinstance(mixture, MultivariateMixture):
        draws = np.stack([draw_multinomial(key, mixture, n_data)[0] for key in keys]).astype(null.data.dtype)
        return np.where(_missing_of_each(null, n_data), np.nan, draws)
    weights, locs, scales = (leaf.tolist() for leaf in mixture)
    draw = jax.vmap(lambda key: sample_multinomial(key, weights, locs, scales, n_data)[0])
    return np.asarray(draw(keys), null.data.dtype)


def _missing_of_each(null: FitJob, n_data: int) -> Bool[np.ndarray, "n d"]:
    """Which cells of the draws are missing: those of the data, in which a row occurs as often as it counts."""
    last = np.cumsum(null.sample_weights, dtype=np.float64)
    rows = np.searchsorted(last, np.arange(n_data) + 0.5)
    return np.isnan(null.data)[np.minimum(rows, len(last) - 1)]


def _statistics(nulls: Sequence[FitJob], results: Sequence[FitResult], fit_all: FitAll) -> list[float]:
    """−2 log λ of each null against one component more, which is fitted here; NaN where the null is not sound.

    Negative where no start of the larger model reached the smaller one.
    """
    alternatives = [_alternatives(job, result) for job, result in zip(nulls, results, strict=True)]
    found = iter(fit_all([job for jobs in alternatives for job in jobs]))
    statistics = []
    for null, result, jobs in zip(nulls, results, alternatives, strict=True):
        _, of_null = _best(null, [result])
        _, of_alternative = _best(null, [next(found) for _ in jobs])
        statistics.append(2.0 * (of_alternative - of_null) if np.isfinite(of_null) else np.nan)
    return statistics


def _worth_another_search(statistics: Float[np.ndarray, " n"]) -> np.ndarray:
    """Where the search failed, and the replicates ranked next below the data, which come first."""
    failed, observed = np.flatnonzero(statistics < -MISSED), max(statistics[0], 0.0)
    is_near = (statistics[1:] < observed) & (statistics[1:] >= max(observed - FARTHEST, -MISSED))
    below = 1 + np.flatnonzero(is_near)
    nearest = below[np.argsort(-statistics[below], kind="stable")][:NEAREST]
    return np.union1d(failed, nearest).astype(int)


def _searched_again(nulls: Sequence[FitJob], results: Sequence[FitResult], fit_all: FitAll) -> np.ndarray:
    """−2 log λ of each null against one component more, by the best of several repeated fits."""
    jobs = [
        usual._replace(key=jax.random.fold_in(usual.key, 1 + time))
        for usual in map(_usual_alternative, nulls)
        for time in range(TIMES)
    ]
    found = iter(fit_all(jobs))
    larger = [_best(null, [next(found) for _ in range(TIMES)])[1] for null in nulls]
    smaller = [_best(null, [result])[1] for null, result in zip(nulls, results, strict=True)]
    return 2.0 * (np.array(larger) - np.array(smaller))


def _alternatives(null: FitJob, result: FitResult) -> list[FitJob]:
    """Fits of K + 1 components: the usual one, and those from the fit of K with each component split."""
    usual, split = _usual_alternative(null), null.plan.family.split
    return [usual] + [
        _from(usual, split(null, result.parameters, component, null.equal_scales))
        for component in range(null.plan.n_components)
    ]


def _one_of_many(job: FitJob) -> FitJob:
    """The same fit for one of many, with a short search or its starts."""
    return job._replace(begin=None, seeds=(), search=job.search and job.search.short, trained=False)


def _usual_alternative(null: FitJob) -> FitJob:
    return _one_of_many(null)._replace(plan=null.plan._replace(n_components=null.plan.n_components + 1))


def _from(job: FitJob, begin: AnyParameters) -> FitJob:
    return job._replace(begin=jax.tree.map(lambda leaf: np.asarray(leaf, job.data.dtype), begin), restarts=1)


def _best(job: FitJob, results: Sequence[FitResult]) -> tuple[FitResult | None, float]:
    """The sound result of highest likelihood and its log-likelihood, in nats and float64; None and −inf if none is."""
    stacked = jax.tree.map(
        lambda *ours: np.stack([np.asarray(leaf) for leaf in ours]), *(result.parameters for result in results)
    )
    data, sample_weights = np.asarray(job.data, np.float64), np.asarray(job.sample_weights, np.float64)
    found = diagnostics.log_likelihoods(stacked, data, sample_weights, identity_of(job.plan.family.n_columns))
    sound = np.where([_is_sound(result) for result in results], found, -np.inf)
    sound = np.where(np.isnan(sound), -np.inf, sound)
    best = int(np.argmax(sound))
    return (results[best] if np.isfinite(sound[best]) else None), float(sound[best])


def _is_sound(result: FitResult) -> bool:
    return not result.diverged and not result.degenerate
