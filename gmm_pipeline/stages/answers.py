"""What a fit is asked and what it answers, between the units of the fit and those of the user."""

from typing import NamedTuple

import numpy as np

from gmm_pipeline.inference.diagnostics import (
    evaluate,
    information_criteria,
    log_likelihoods,
    log_priors,
)
from gmm_pipeline.inference.fitting import FitJob, FitResult, split
from gmm_pipeline.inference.parameterization import number_of_parameters
from gmm_pipeline.inference.restarts import hit_rate
from gmm_pipeline.inference.scaling import Scaling, to_fit_units, to_user_units
from gmm_pipeline.model.mixture import Mixture, Parameters, constrain
from gmm_pipeline.records.artifacts import Assignments, History
from gmm_pipeline.records.datasets import Dataset

MOST_ELEMENTS_IN_FLOAT64 = 1e8
"""History entries × data × components: about a second on two cores."""


class Job(NamedTuple):
    """A fit and what its answer is written with."""

    dataset: Dataset
    scaling: Scaling
    fit: FitJob


class Answer(NamedTuple):
    """A result in the user's units, components ordered by loc."""

    fitted: Mixture
    unconstrained: Parameters
    metrics: dict[str, float]
    history: History
    assignments: Assignments
    diverged: bool


def answer(job: Job, result: FitResult) -> Answer:
    """Judge a result in float64 and bring it into the user's units and the order of the locs."""
    dataset, scaling = job.dataset, job.scaling
    total = float(np.sum(dataset.counts))
    evaluation = evaluate(result.parameters, to_fit_units(dataset.data, scaling), dataset.counts, scaling)
    plan, floats = split(job.fit)
    priors = log_priors(result.history.parameters, plan.log_prior, floats["prior"], result.history.learned)
    log_prior = float(priors[-1])
    loss = -(evaluation.log_likelihood + log_prior)
    order = np.argsort(np.asarray(result.parameters.component_mus), kind="stable")
    history_parameters = to_user_units(result.history.parameters, scaling)
    responsibilities = evaluation.responsibilities[:, order]
    n_parameters = number_of_parameters(job.fit.plan.n_components, equal_scales=job.fit.equal_scales)
    return Answer(
        fitted=_in_order(constrain(to_user_units(result.parameters, scaling)), order),
        unconstrained=Parameters(*(leaf[order] for leaf in to_user_units(result.parameters, scaling))),
        metrics={
            "loss": loss,
            "log_likelihood": evaluation.log_likelihood,
            "log_prior": log_prior,
            **information_criteria(evaluation.log_likelihood, n_parameters, total),
            "n_data": len(dataset.data),
            **({} if dataset.sample_weights is None else {"sum_of_weights": total}),
            "n_components": job.fit.plan.n_components,
            "n_parameters": n_parameters,
            "n_steps": result.n_steps,
            "converged": result.converged,
            "gradient_norm": result.gradient_norm,
            "n_degenerate": len(result.degenerate),
            "restarts": len(result.restarts),
            "hit_rate": hit_rate(result.restarts),
        },
        history=History(
            result.steps,
            # The last is the number in the metrics, whose sum was taken in another order.
            np.append(_losses_before_the_last(job, result, priors), loss),
            _in_order(constrain(history_parameters), order),
        ),
        assignments=Assignments(
            dataset.data, dataset.sample_weights, np.argmax(responsibilities, axis=1), responsibilities
        ),
        diverged=result.diverged,
    )


def _losses_before_the_last(job: Job, result: FitResult, priors: np.ndarray) -> np.ndarray:
    """Losses over the steps in the user's units; in float64 too, unless that would take longer than the fit."""
    dataset, scaling, plan = job.dataset, job.scaling, job.fit.plan
    if len(result.steps) * plan.n_components * len(dataset.data) <= MOST_ELEMENTS_IN_FLOAT64:
        before = Parameters(*(leaf[:-1] for leaf in result.history.parameters))
        data = to_fit_units(dataset.data, scaling)
        return -(log_likelihoods(before, data, dataset.counts, scaling) + priors[:-1])
    total = float(np.sum(dataset.counts))
    losses = np.asarray(result.history.loss[:-1], np.float64) * (total if plan.average_loss else 1.0)
    return losses + total * np.log(scaling.spread)


def _in_order(mixture: Mixture, order: np.ndarray) -> Mixture:
    return Mixture(*(values[..., order] for values in mixture))
