"""Fits by a plain NumPy EM, for tests of what is done with fits rather than of the engine that makes them."""

from collections.abc import Sequence

import jax
import numpy as np
import optax
from scipy import special, stats
from sklearn.mixture import GaussianMixture
from small_fits import plugin

from gmm_pipeline.inference.jobs import FitJob, FitPlan, FitResult
from gmm_pipeline.model import inits, priors
from gmm_pipeline.model.mixture import Parameters


def a_job(data, n_components=2, *, sample_weights=None, seed=0, optimizer=None, **changes) -> FitJob:
    data = np.asarray(data, np.float32)
    plan = FitPlan(
        n_components=n_components,
        init=plugin(inits.quantile, jitter=0.9, overlap=2.0),
        log_prior=plugin(priors.flat),
        optimizer=optimizer or plugin(optax.adam, learning_rate=0.1),
        schedule=plugin(optax.constant_schedule, value=1.0),
        average_loss=True,
        fused=True,
        as_written=False,
    )
    weights = np.ones_like(data) if sample_weights is None else np.asarray(sample_weights, np.float32)
    usual = {
        "steps": 300,
        "history_every": 10,
        "restarts": 2,
        "equal_scales": False,
        "scale_floor": 0.01,
        "fewest_data": 1.5,
        "tolerance": 1e-5,
        "gradient_tolerance": 1e-2,
        "halves_apart": 0.5,
        "begin": None,
    }
    return FitJob(data, weights, jax.random.PRNGKey(seed), plan, **{**usual, **changes})


def a_result(weights, locs, scales, *, degenerate=(), diverged=False, converged=True) -> FitResult:
    with np.errstate(divide="ignore"):
        parameters = Parameters(*(np.asarray(leaf, np.float64) for leaf in (np.log(weights), locs, np.log(scales))))
    known = {"parameters": parameters, "degenerate": degenerate, "diverged": diverged, "converged": converged}
    known |= {"steps": np.array([0])}
    return FitResult(**{**dict.fromkeys(FitResult._fields), "learned": {}, **known})


def of_scikit_learn(fitted: GaussianMixture) -> FitResult:
    weights, locs, variances = (np.ravel(vars(fitted)[name]) for name in ("weights_", "means_", "covariances_"))
    return a_result(weights, locs, np.sqrt(variances))


def density(result: FitResult, x) -> np.ndarray:
    """Of a mixture by SciPy, [n]."""
    log_weights, locs, log_scales = result.parameters
    weights = special.softmax(log_weights)
    return sum(
        w * stats.norm.pdf(x, m, np.exp(s)) for w, m, s in zip(weights, locs, log_scales, strict=True)
    ) * np.ones(len(x))


def fit_by_em(jobs: Sequence[FitJob]) -> list[FitResult]:
    return [_fit(job) for job in jobs]


def _fit(job: FitJob, steps: int = 100) -> FitResult:
    x, c, k = job.data.astype(float), job.sample_weights.astype(float), job.plan.n_components
    if job.begin is None:
        kept = x[c > 0]
        locs = np.quantile(kept, (np.arange(k) + 0.5) / k)
        weights, scales = np.full(k, 1.0 / k), np.full(k, 2.0 * kept.std() / k)
    else:
        log_weights, locs, log_scales = (np.asarray(leaf, float) for leaf in job.begin)
        weights, scales = special.softmax(log_weights), np.exp(log_scales)
    floor = job.scale_floor * np.sqrt(np.average((x - np.average(x, weights=c)) ** 2, weights=c))
    for _ in range(steps if k > 1 else 2):
        z = (x[None, :] - locs[:, None]) / scales[:, None]
        r = c * special.softmax(np.log(np.maximum(weights / scales, 1e-300))[:, None] - 0.5 * z**2, axis=0)
        counts = np.maximum(r.sum(1), 1e-10)
        weights, locs = counts / counts.sum(), (r * x).sum(1) / counts
        variances = (r * (x[None, :] - locs[:, None]) ** 2).sum(1)
        variances = np.full(k, variances.sum() / counts.sum()) if job.equal_scales else variances / counts
        scales = np.maximum(np.sqrt(variances), floor)
    collapsed = (scales <= floor) | (weights * c.sum() < job.fewest_data)
    return a_result(weights, locs, scales, degenerate=tuple(np.flatnonzero(collapsed).tolist()))
