"""Plug-ins of one's own that give something else than a fit needs are refused in one message, before any work."""

from typing import Any

import optax
import pytest
from small_fits import job, plugin

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.jobs import check


def nothing(*given, **hyperparameters):
    return None


def vector(parameters):
    return parameters.component_mus


def pair(key, data, sample_weights, n_components):
    return data[:n_components], data[:n_components]


def updates_nothing() -> Any:
    transformation: Any = optax.GradientTransformation
    return transformation(lambda parameters: (), lambda updates, state, parameters=None: (None, state))


@pytest.mark.parametrize(
    ("group", "field", "function", "says"),
    [
        ("prior", "log_prior", nothing, "a prior that gives one number, but got None from nothing"),
        ("prior", "log_prior", vector, r"a prior that gives one number, but got an array \(2,\) from vector"),
        ("init", "init", nothing, "an init that gives Parameters, but got None from nothing"),
        ("init", "init", pair, "an init that gives Parameters, but got tuple from pair"),
        ("optimizer", "optimizer", nothing, "an optimizer of optax's form, but got None from nothing"),
        ("schedule", "schedule", nothing, "a function that gives a schedule, but got None from nothing"),
    ],
)
def test_what_a_plug_in_gives_is_checked(group, field, function, says):
    with pytest.raises(InputError, match=f"^{group}: expected .*{says}"):
        changed: Any = {field: plugin(function)}
        check(job(**changed))


def test_an_optimizer_that_changes_nothing_of_the_right_form_is_refused():
    with pytest.raises(InputError, match=r"^optimizer: expected"):
        check(job(optimizer=plugin(updates_nothing)))
