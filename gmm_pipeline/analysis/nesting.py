"""What the candidates of a selection show about each other: an optimum is not worse than any mixture of its model.

A model contains the mixtures with fewer components, by a component split in two halves, and those with equal scales. So
a fit whose log posterior is below that of such a mixture is not the best of its model, and one with the likelihood of a
mixture with fewer parameters gains nothing by the additional ones. If components of a fit coincide, it is a fit of the
smaller model, whose own fit may be worse. The price: a missed optimum that no other candidate shows is not detected.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gmm_pipeline.analysis.doubts import OF_LEFT_OUT, Doubt, Reason, named
from gmm_pipeline.analysis.left_out import reason_of_left_out
from gmm_pipeline.inference.jobs import FitJob, FitResult
from gmm_pipeline.inference.narrow import GAIN
from gmm_pipeline.inference.restarts import log_prior, log_priors_of
from gmm_pipeline.inference.scaling import AnyScaling, in_other_units
from gmm_pipeline.model.covariances import contains, kind_of, of_one_component
from gmm_pipeline.model.mixture import Parameters, exact
from gmm_pipeline.model.multivariate import AnyParameters, constrain_multivariate, parameters_of
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM


def compared(
    jobs: Sequence[FitJob],
    results: Sequence[FitResult],
    scalings: Sequence[AnyScaling],
    log_likelihoods: Sequence[float],
    doubts: Sequence[tuple[Doubt, ...]],
) -> list[tuple[Doubt, ...]]:
    """The doubts about each candidate of a selection, including those that the others raise.

    Args:
        jobs: of the same data and prior.
        results: of these.
        scalings: from the user's units to those of each.
        log_likelihoods: of these, in nats.
        doubts: about each by itself.
    """
    log_posteriors = [
        log_likelihood + log_prior(job, result.parameters, result.learned)
        for job, result, log_likelihood in zip(jobs, results, log_likelihoods, strict=True)
    ]
    columns = zip(jobs, results, scalings, log_likelihoods, log_posteriors, doubts, strict=True)
    candidates = [_Candidate(*of_one) for of_one in columns]
    best = max(candidates, key=lambda one: one.score_of_narrow)
    return [
        (
            *own.doubts,
            *_beside_smaller(own, candidates),
            *_beside_larger(own, candidates),
            *_beside_narrow(own, best),
        )
        for own in candidates
    ]


class _Candidate(NamedTuple):
    job: FitJob
    result: FitResult
    scaling: AnyScaling
    log_likelihood: float
    log_posterior: float
    doubts: tuple[Doubt, ...]

    @property
    def is_sound(self) -> bool:
        return not self.result.diverged and not self.result.degenerate and math.isfinite(self.log_likelihood)

    @property
    def name(self) -> str:
        job = self.job
        return named(job.plan.n_components, equal_scales=job.equal_scales, covariance=job.covariance)

    def contains(self, other: "_Candidate") -> bool:
        """Whether the other's model is contained in this one's."""
        own_number, number = self.job.plan.n_components, other.job.plan.n_components
        if self.job.covariance:
            model = of_one_component(other.job.covariance) if number == 1 else other.job.covariance
            return other is not self and number <= own_number and contains(self.job.covariance, model)
        as_equal = other.job.equal_scales or number == 1
        kinds = as_equal if self.job.equal_scales else True
        return other is not self and number <= own_number and kinds and (number < own_number or as_equal)

    @property
    def score(self) -> float:
        """Log-likelihood less what the criterion of the selection charges for the parameters."""
        return self.log_likelihood - self.job.penalty * self.job.n_parameters

    @property
    def score_of_narrow(self) -> float:
        """That of the best mixture that is left out for narrow components with many data; −∞ for none."""
        searched = self.result.searched
        if searched is None or not math.isfinite(self.score):
            return -math.inf
        return self.score + searched.left_out

    def at(self, mixtures: Sequence[tuple[AnyParameters, "_Candidate"]]) -> list[float]:
        """Log posteriors, as mixtures of this model, of mixtures with the log-likelihood of another candidate.

        Args:
            mixtures: each in the units of the candidate that it is of.
        """
        seen = [self._seen(mixture, of_one) for mixture, of_one in mixtures]
        priors = log_priors_of(self.job, seen, [self.result.learned] * len(seen))
        return [of_one.log_likelihood + prior for prior, (_, of_one) in zip(priors, mixtures, strict=True)]

    def _seen(self, mixture: AnyParameters, of_one: "_Candidate") -> AnyParameters:
        """A mixture as this model represents it, in its units; without covariances where the prior is of weights."""
        if isinstance(mixture, Parameters):
            return mixture
        if traits(self.job.plan.log_prior.function).pseudo_count is not None:
            return mixture._replace(axes=None, loadings=None)
        here = in_other_units(constrain_multivariate(mixture), of_one.scaling, self.scaling)
        own = parameters_of(here, kind_of(self.job.covariance))
        return own._replace(log_component_weights=mixture.log_component_weights)


def _beside_smaller(own: _Candidate, candidates: Sequence[_Candidate]) -> tuple[Doubt, ...]:
    if not own.is_sound:
        return ()
    smaller = [other for other in candidates if other.is_sound and own.contains(other)]
    nested = [(halved, other) for other in smaller if (halved := _halved(own, other))]
    if nested:
        height, other = max(zip(own.at(nested), (other for _, other in nested), strict=True), key=lambda one: one[0])
        if own.log_posterior < height - SAME_OPTIMUM:
            more = other.log_likelihood - own.log_likelihood
            return (Doubt(Reason.MISSED, nats=height - own.log_posterior, other=other.name, of_likelihood=more),)
    as_good = [other for other in smaller if own.log_likelihood <= other.log_likelihood + SAME_OPTIMUM]
    # The one with the fewest parameters is the mixture that this fit equals.
    return (Doubt(Reason.REDUNDANT, other=min(as_good, key=_size).name),) if as_good else ()


def _size(candidate: _Candidate) -> int:
    return candidate.job.n_parameters


def _halved(own: _Candidate, other: _Candidate) -> AnyParameters | None:
    """The other's mixture with its heaviest components split in halves, to as many as this model has.

    None if that leaves a half with too few data.
    """
    parameters, family = other.result.parameters, other.job.plan.family
    if isinstance(parameters, Parameters):
        parameters = exact(parameters)
    for _ in range(own.job.plan.n_components - other.job.plan.n_components):
        parameters = family.halved(parameters, int(np.argmax(parameters.log_component_weights)))
    counts = float(np.sum(own.job.sample_weights, dtype=np.float64)) * family.natural(parameters).weights
    return parameters if counts.min() >= family.fewest_data(own.job) else None


def _beside_larger(own: _Candidate, candidates: Sequence[_Candidate]) -> tuple[Doubt, ...]:
    job = own.job
    found = []
    for other in candidates:
        pairs = [doubt.components[:2] for doubt in other.doubts if doubt.reason == Reason.COINCIDENT]
        kinds = ((one.equal_scales, one.covariance) for one in (job, other.job))
        alike = len({*kinds}) == 1 and other.job.plan.n_components == job.plan.n_components + 1
        if own.is_sound and other.is_sound and alike and pairs:
            parameters = other.job.plan.family.merged(other.job, other.result.parameters, *pairs[0])
            # Merging did not change the likelihood, to the same precision.
            (height,) = own.at([(parameters, other)])
            gap, more = height - own.log_posterior, other.log_likelihood - own.log_likelihood
            if gap > 2.0 * SAME_OPTIMUM:
                found.append(Doubt(Reason.OUTDONE, nats=gap, other=other.name, of_likelihood=more))
    return tuple(found)


def _beside_narrow(own: _Candidate, best: _Candidate) -> tuple[Doubt, ...]:
    gain = best.score_of_narrow - own.score
    if not own.is_sound or best is own or not gain > GAIN or any(one.reason in OF_LEFT_OUT for one in own.doubts):
        return ()
    return (Doubt(reason_of_left_out(best.result), nats=gain, other=best.name),)
