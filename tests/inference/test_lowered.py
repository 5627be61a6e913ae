"""Kept traces: the same bits as `jax.jit`, written once, and nothing kept whose source is not known."""

import logging
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gmm_pipeline.inference import lowered
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.tracing import prior_density
from gmm_pipeline.model import priors
from gmm_pipeline.model.mixture import Parameters

ACTIVE = np.array([True, True, False])
PARAMETERS = Parameters(*(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)))


class Kept(dict[str, bytes]):
    code = "of these tests"

    def read(self, name: str) -> bytes | None:
        return self.get(name)

    def write(self, name: str, content: bytes) -> None:
        self[name] = content


@pytest.fixture
def kept():
    store = Kept()
    lowered.keep_in(store)
    yield store
    lowered.keep_in(None)


def density(concentration: float, parameters: Parameters = PARAMETERS, function: Any = priors.dirichlet) -> Any:
    """As a process of its own has it."""
    plugin = Plugin(function, (("concentration", concentration),))
    return lowered.program(_density, static="log_prior", compiler_options=None)(parameters, ACTIVE, log_prior=plugin)


def _density(parameters, active, *, log_prior):
    return prior_density(log_prior, parameters, active, None), jax.tree.map(jnp.exp, parameters)


_density.__module__ = "gmm_pipeline.tests"  # a function of ours, for once


def homemade(parameters, active, *, concentration):
    return concentration * jnp.sum(jnp.where(active, parameters.component_mus, 0.0))


def test_a_kept_trace_gives_the_same_bits_and_structure(kept):
    log_prior = Plugin(priors.dirichlet, (("concentration", 2.5),))
    expected = jax.jit(_density, static_argnames="log_prior")(PARAMETERS, ACTIVE, log_prior=log_prior)
    for _ in range(2):
        found = density(2.5)
        assert len(kept) == 1
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    density(2.0)
    assert len(kept) == 2
    density(2.0, jax.tree.map(lambda leaf: leaf.astype(np.float16), PARAMETERS))
    assert len(kept) == 3


def test_one_trace_serves_all_devices(kept):
    expected = density(2.5)
    with jax.default_device(jax.local_devices()[0]):
        jax.tree.map(np.testing.assert_array_equal, density(2.5), expected)
    assert len(kept) == 1


def test_what_was_cut_off_is_made_anew(kept):
    expected = density(2.5)
    ((name, whole),) = kept.items()
    for broken in (b"", whole[:9], whole[: len(whole) // 2]):
        kept[name] = broken
        jax.tree.map(np.testing.assert_array_equal, density(2.5), expected)
        assert lowered._read(kept[name]) is not None


def test_what_has_another_source_is_traced_each_time(kept):
    found, _ = density(2.5, function=homemade)
    np.testing.assert_allclose(found, 2.5 * PARAMETERS.component_mus[:2].sum(), rtol=1e-6)
    assert not kept


def test_names_are_the_same_in_each_process():
    plan = (Plugin(priors.dirichlet, (("concentration", 2.0),)), None, True)
    assert lowered._named(partial(prior_density, active=1)) == (
        "gmm_pipeline.inference.tracing:prior_density(tuple(), tuple(tuple('active', 1)))"
    )
    assert "0x" not in lowered._named(plan)
    for nameless in (lambda: 0, np.zeros(1), homemade):
        with pytest.raises(TypeError, match=r"name|source"):
            lowered._named((nameless,))


def test_states_of_optimizers_have_a_form():
    optimizer: Any = optax.chain(optax.adam(0.1), optax.scale_by_schedule(lambda step: 1.0))
    state = jax.tree.map(lambda _: 0, optimizer.init({"a": PARAMETERS, "b": None}))
    assert jax.tree.structure(lowered._of_form(lowered._form(state))) == jax.tree.structure(state)


@pytest.mark.parametrize(("name", "value"), [("INITIALIZE", "renamed"), ("LINALG", "jax._src.lax.moved")])
def test_another_jax_is_told_of_once_and_gives_the_same(kept, monkeypatch, caplog, name, value):
    expected = density(2.5)
    monkeypatch.setattr(lowered, name, value)
    lowered._with_lapack.cache_clear()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            jax.tree.map(np.testing.assert_array_equal, density(2.5), expected)
    lowered._with_lapack.cache_clear()
    (said,) = caplog.records
    assert said.levelno == logging.INFO
    assert value in said.getMessage()


def test_this_jax_has_the_function_that_is_replaced(kept, caplog):
    lowered._with_lapack.cache_clear()
    with caplog.at_level(logging.INFO):
        density(2.5)
    assert not caplog.records
    assert lowered._with_lapack() is not None


@pytest.mark.parametrize("keeps", [True, False])
def test_an_option_that_xla_does_not_know_is_left_out_and_logged_once(keeps, caplog):
    lowered.keep_in(Kept() if keeps else None)
    options = {"xla_cpu_enable_fast_math": False, "xla_cpu_of_another_time": True}
    program = lowered.program(_density, static="log_prior", compiler_options=options)
    log_prior = Plugin(priors.dirichlet, (("concentration", 2.5),))
    with caplog.at_level(logging.INFO, lowered.__name__):
        found = [program(PARAMETERS, ACTIVE, log_prior=log_prior)[0] for _ in range(2)]
    lowered.keep_in(None)
    assert found == [density(2.5)[0]] * 2
    assert [record.message for record in caplog.records if "xla_cpu_of_another_time" in record.message]
    assert len(caplog.records) == 1


def test_what_else_xla_refuses_is_raised():
    program = lowered.program(_density, static="log_prior", compiler_options={"xla_cpu_enable_fast_math": "maybe"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="maybe"):
        program(PARAMETERS, ACTIVE, log_prior=Plugin(priors.dirichlet, (("concentration", 2.5),)))
