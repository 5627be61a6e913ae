"""A fit of two components to 300 data that takes no time, and what to change of it."""

import jax
import numpy as np
import optax

from gmm_pipeline.inference.jobs import FitJob, FitPlan
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model import inits, priors

DATA = np.random.default_rng(0).normal(size=300).astype(np.float32) + np.repeat([-2, 2], 150).astype(np.float32)


def plugin(function, **hyperparameters) -> Plugin:
    return Plugin(function, tuple(sorted(hyperparameters.items())))


def job(*, steps=40, history_every=1, seed=0, data=DATA, **changes) -> FitJob:
    plan = FitPlan(
        n_components=2,
        init=plugin(inits.quantile, jitter=0.5, overlap=2.0),
        log_prior=plugin(priors.flat),
        optimizer=plugin(optax.adam, learning_rate=0.1),
        schedule=plugin(optax.constant_schedule, value=1.0),
        average_loss=True,
        fused=True,
        as_written=False,
    )
    own = {name: changes.pop(name) for name in list(changes) if name in FitJob._fields}
    settings = {
        "restarts": 1,
        "equal_scales": False,
        "scale_floor": 0.0,
        "fewest_data": 0.0,
        "tolerance": 0.0,
        "gradient_tolerance": 0.0,
        "halves_apart": 0.5,
    }
    return FitJob(
        data,
        np.ones_like(data),
        jax.random.PRNGKey(seed),
        plan._replace(**changes),
        steps,
        history_every,
        **{**settings, **own},
    )


OVER_STICKS = plugin(
    priors.dirichlet_process,
    concentration=1.0,
    concentration_shape=1.0,
    concentration_rate=1.0,
    loc=0.0,
    loc_scale=1.0,
    scale_shape=1.0,
    scale_scale=3.0,
)
