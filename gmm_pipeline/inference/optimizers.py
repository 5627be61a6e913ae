"""Optimizers combined with schedules; the optimizers themselves are optax's own, named in `conf/optimizer/`.

A schedule is a factor on the update, from 1 downward, and not an argument of the optimizer: so any optax optimizer
takes any schedule without a wrapper, and `optimizer.learning_rate` stays one number.

The schedules here have optax's formulas, but accept a traced number of steps, which optax's checks refuse: so fits with
different numbers of steps share a program. Optax's own schedules work too, with one program per number of steps.
"""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.mixture import AnyArray


def build_optimizer(optimizer: Plugin, schedule: Plugin) -> optax.GradientTransformationExtraArgs:
    """The optimizer with its updates multiplied by the schedule's factor at each step.

    Args:
        optimizer: () -> optax transformation.
        schedule: () -> (step -> factor).
    """
    chained = optax.chain(optimizer(), optax.scale_by_schedule(schedule()))
    return optax.with_extra_args_support(chained)


Factor = Callable[[int | AnyArray], AnyArray]
"""step -> factor on the update."""


def cosine(*, init_value: float | AnyArray, decay_steps: int | AnyArray, alpha: float | AnyArray) -> Factor:
    """Init (α + (1 − α) ½ (1 + cos(π t / T))), then init α (Loshchilov & Hutter 2017).

    Args:
        init_value: init, the initial factor.
        decay_steps: T.
        alpha: α, the factor at the end as a share of the initial one.
    """
    _check_length(decay_steps=decay_steps)

    def factor(step: int | AnyArray) -> AnyArray:
        share = jnp.minimum(step / decay_steps, 1.0)
        return init_value * (alpha + (1.0 - alpha) * 0.5 * (1.0 + jnp.cos(jnp.pi * share)))

    return factor


def exponential(
    *, init_value: float | AnyArray, transition_steps: int | AnyArray, decay_rate: float | AnyArray
) -> Factor:
    """Init γ^(t / T), the same factor each step.

    Args:
        init_value: init, the initial factor.
        transition_steps: T.
        decay_rate: γ, the share of it that is left after T steps.
    """
    _check_length(transition_steps=transition_steps)
    return lambda step: init_value * jnp.asarray(decay_rate) ** jnp.asarray(step / transition_steps)


def linear(*, init_value: float | AnyArray, end_value: float | AnyArray, transition_steps: int | AnyArray) -> Factor:
    """Init + (end − init) t / T, then end.

    Args:
        init_value: init, the initial factor.
        end_value: end, the factor from T on.
        transition_steps: T.
    """
    _check_length(transition_steps=transition_steps)
    return lambda step: init_value + (end_value - init_value) * jnp.minimum(step / transition_steps, 1.0)


def _check_length(**steps: int | AnyArray) -> None:
    """Refuse a number of steps that is not positive; a traced one has no value yet and passes."""
    for name, number in steps.items():
        if isinstance(number, int | float) and not number > 0:
            raise ValueError(f"{name} must be positive")
