"""Optimizers and schedules joined; the optimizers themselves are optax's own, named in `conf/optimizer/`.

A schedule is a factor on the update, from 1 downward, and not an argument of the optimizer: so any optax optimizer
takes any schedule without a wrapper, and `optimizer.learning_rate` stays one number.
"""

import optax

from gmm_pipeline.inference.plugins import Plugin


def build_optimizer(optimizer: Plugin, schedule: Plugin) -> optax.GradientTransformationExtraArgs:
    """The optimizer with its updates multiplied by the schedule's factor at each step.

    Args:
        optimizer: () -> optax transformation.
        schedule: () -> (step -> factor).
    """
    chained = optax.chain(optimizer(), optax.scale_by_schedule(schedule()))
    return optax.with_extra_args_support(chained)
