"""What tracing a fit's plug-ins shows before any work: whether they work, and which of their floats may vary.

A float that a plug-in accepts as a traced number is an argument of the compiled program, and so a batch axis: runs that
differ in it share the program. It is an argument even in a single run, since constant folding would change last bits.
Whether this is possible depends on the plug-in, never on the sweep; runs that differ in any other float need separate
programs. Nothing is computed here: JAX only evaluates shapes.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.em import Problem
from gmm_pipeline.inference.families import Family
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.optimizers import build_optimizer
from gmm_pipeline.inference.parameterization import Unconstrained
from gmm_pipeline.inference.plugins import Absent, Plugin
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.model.prior_traits import Added, Setting, traits

COMPONENTS_STEP = 8
"""Components are padded to a multiple of this for priors that can leave components out."""


@contextlib.contextmanager
def in_precision(dtype: Any) -> Iterator[None]:
    """Let JAX use float64 for data of this type, whatever its global setting.

    Args:
        dtype: of the data of a fit.
    """
    if np.dtype(dtype) == np.float64 and not jax.config.read("jax_enable_x64"):
        with jax.enable_x64(True):
            yield
    else:
        yield


class Shape(NamedTuple):
    """What tracing needs to know about a fit's data."""

    n_components: int
    n_data: int
    dtype: str
    family: Family = NORMAL

    def parameters(self) -> Any:
        """Parameters of this shape, all zero."""
        return self.family.zeros(self.n_components, self.dtype)

    def setting(self) -> Setting | None:
        """What a prior may know of a fit of this shape; None for one column."""
        columns = (self.family.n_columns,)
        if not self.family.n_columns:
            return None
        covariance = columns if self.parameters().axes is None else columns * 2
        return Setting(np.zeros(columns, self.dtype), np.ones(covariance, self.dtype), np.array(False), np.array(False))


def use_init(init: Plugin, shape: Shape) -> Any:
    """Draw a start for data of this type; starts are drawn on the host, so there is nothing to trace.

    Args:
        init: of `conf/init/`.
        shape: number of components, number of observations and dtype.
    """
    n_columns = shape.family.n_columns
    n_data = shape.n_components + 1 + n_columns
    data = np.linspace(-1.0, 1.0, n_data)
    if n_columns:  # columns that are orthogonal, so that their covariance can be inverted
        data = np.cos(np.pi * (np.arange(n_data)[:, None] + 0.5) * np.arange(1, n_columns + 1) / n_data)
    return init(np.zeros(2, np.uint32), data.astype(shape.dtype), np.ones(n_data, shape.dtype), shape.n_components)


def use_prior(log_prior: Plugin, shape: Shape) -> Any:
    """The shape of a log prior density.

    Args:
        log_prior: of `conf/prior/`.
        shape: number of components, number of observations and dtype.
    """
    parameters, active = shape.parameters(), jnp.ones(shape.n_components, bool)
    return jax.eval_shape(partial(prior_density, log_prior), parameters, active, shape.setting())


def use_schedule(schedule: Plugin, shape: Shape) -> Any:
    """The shape of a factor.

    Args:
        schedule: of `conf/schedule/`.
        shape: not used.
    """
    return jax.eval_shape(lambda step: schedule()(step), jax.ShapeDtypeStruct((), np.int32))


def use_optimizer(optimizer: Plugin, shape: Shape) -> Any:
    """The shapes of an update.

    Args:
        optimizer: of `conf/optimizer/`.
        shape: number of components, number of observations and dtype.
    """
    return jax.eval_shape(_update(optimizer, shape), Unconstrained(shape.parameters(), {}))


def _update(optimizer: Plugin, shape: Shape) -> Callable[[Unconstrained], Any]:
    def update(free: Unconstrained) -> Any:
        transformation = build_optimizer(optimizer, Plugin(lambda: lambda step: 1.0, ()))
        one = jnp.ones((), shape.dtype)
        return transformation.update(
            free,
            transformation.init(free),
            free,
            value=one,
            grad=free,
            value_fn=lambda free, problem=None: jnp.sum(free.parameters.log_component_weights),
            problem=Problem(one, 1.0, 0.0, None, lambda free, gradient, problem: free),
        )

    return update


USES: dict[str, Callable[[Plugin, Shape], Any]] = {
    "init": use_init,
    "prior": use_prior,
    "schedule": use_schedule,
    "optimizer": use_optimizer,
}
"""How a fit calls each kind of plug-in, by config group."""
MADE = {
    "optimizer": "a function that gives an optimizer of optax's form",
    "schedule": "a function that gives a schedule",
}
"""What plug-ins that give a function have to give, by config group."""


def _wrong(group: str, found: Any, shape: Shape) -> str | None:
    """What is expected of a plug-in in place of what it gave; None if that is right."""
    if group in ("prior", "schedule"):
        is_number = np.shape(found) == () and jnp.issubdtype(getattr(found, "dtype", type(found)), jnp.number)
        return None if is_number else f"a {group} that gives one number"
    if group == "init":
        wanted, n_columns = shape.parameters(), shape.family.n_columns
        if n_columns:
            shapes = (shape.n_components,), (shape.n_components, n_columns), (shape.n_components, n_columns, n_columns)
            wanted = MultivariateMixture(*map(np.zeros, shapes))
        return None if _shapes_of(found) == _shapes_of(wanted) else f"an init that gives {type(wanted).__name__}"
    wanted = Unconstrained(shape.parameters(), {})
    is_update = isinstance(found, tuple) and len(found) == 2 and _shapes_of(found[0]) == _shapes_of(wanted)
    return None if is_update else "an optimizer whose update has the form of the gradient"


def _said_of(found: Any) -> str:
    leaves = jax.tree.leaves(found)
    kind = "None" if found is None else type(found).__name__
    return kind if len(leaves) != 1 or not hasattr(leaves[0], "dtype") else f"an array {np.shape(leaves[0])}"


def _shapes_of(tree: Any) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [np.shape(leaf) for leaf in leaves]


def prior_density(log_prior: Plugin, parameters: AnyParameters, active: Any, setting: Setting | None) -> Any:
    """Log prior density of the active components, in nats.

    Args:
        log_prior: takes the parameters, and perhaps which components are active, and perhaps the setting.
        parameters: K components.
        active: [K], false for components that only pad the arrays.
        setting: of a fit of several columns; None for one.
    """
    return log_prior(*(parameters, active, setting)[: log_prior.number_of_data()])


def added_by(log_prior: Plugin, active: Any, setting: Setting | None) -> Added | None:
    """Observations that a prior adds to each component.

    Args:
        log_prior: with all its hyperparameters.
        active: [K], false for components that only pad the arrays.
        setting: of the fit; None for one column.
    """
    declared, given = traits(log_prior.function), dict(log_prior.hyperparameters)
    if setting is None:
        return None if declared.added_to_column is None else declared.added_to_column(**given)
    return None if declared.added is None else declared.added(active, setting, **given)


def leaves_out_components(log_prior: Plugin) -> bool:
    """Whether a prior takes a mask of active components and so works on padded arrays."""
    return log_prior.number_of_data() > 1


def width_for(log_prior: Plugin, n_components: int) -> int:
    """Number of components to pad to when a prior is evaluated by itself, so that most numbers share a program.

    Args:
        log_prior: of the fit.
        n_components: K.
    """
    return -(-n_components // COMPONENTS_STEP) * COMPONENTS_STEP if leaves_out_components(log_prior) else n_components


@functools.lru_cache(maxsize=4096)
def check(group: str, plugin: Plugin, shape: Shape) -> None:
    """Trace a plug-in with its own hyperparameters, so that one that cannot work fails before any work starts.

    Args:
        group: a key of `USES`.
        plugin: of this group.
        shape: number of components, number of observations and dtype.

    Raises:
        InputError: the plug-in fails; the message has its error.
    """
    name = getattr(plugin.function, "__name__", group)
    try:
        with in_precision(shape.dtype):
            if group in MADE and (found := plugin()) is None:
                came = f"None from {name}"
                raise InputError(group, expected=MADE[group], came=came, remedy="Does the function return its result?")
            found = USES[group](plugin, shape)
        if (expected := _wrong(group, found, shape)) is not None:
            came = f"{_said_of(found)} from {name}"
            raise InputError(group, expected=expected, came=came, remedy="Does the function return its result?")
    except InputError:
        raise
    except Exception as error:
        said = str(error).splitlines()[0].rstrip(".") if str(error) else "no message"
        given = ", ".join(f"{key}={value!r}" for key, value in plugin.hyperparameters) or "no hyperparameters"
        raise InputError(
            group,
            expected="hyperparameters and a function that work with these data",
            came=f"{given} ({type(error).__name__}: {said})",
            remedy=f"Check the keys of {group} and its _target_.",
        ) from error


def varying(group: str, plugin: Plugin, shape: Shape) -> tuple[str, ...]:
    """Names of the floats of a plug-in, and whole numbers of a schedule, in which runs of one program may differ.

    A schedule's whole numbers are lengths in steps, and programs do not depend on the number of steps.

    Args:
        group: a key of `USES`.
        plugin: of this group.
        shape: number of components, number of observations and dtype.
    """
    names = _numbers(group, plugin)
    # Tried without the values first, since the answer then holds for all values.
    return names if _all_vary(group, plugin.without(names), names, shape) else _some_vary(group, plugin, shape)


def _numbers(group: str, plugin: Plugin) -> tuple[str, ...]:
    return plugin.numbers(float, int) if group == "schedule" else plugin.numbers(float)


@functools.lru_cache(maxsize=4096)
def _all_vary(group: str, plugin: Plugin, names: tuple[str, ...], shape: Shape) -> bool:
    return _works_traced(group, plugin, names, shape)


@functools.lru_cache(maxsize=4096)
def _some_vary(group: str, plugin: Plugin, shape: Shape) -> tuple[str, ...]:
    names = tuple(name for name in _numbers(group, plugin) if _works_traced(group, plugin, (name,), shape))
    return names if _works_traced(group, plugin, names, shape) else ()


@functools.lru_cache(maxsize=4096)
def has_loop(optimizer: Plugin, shape: Shape) -> bool:
    """Whether a step of an optimizer, some of whose floats may be absent, contains a loop.

    Args:
        optimizer: of `conf/optimizer/`.
        shape: number of components, number of observations and dtype.
    """
    absent = {name: 0.5 for name, value in optimizer.hyperparameters if value is Absent.LATER}
    with in_precision(shape.dtype):
        traced = jax.make_jaxpr(_update(optimizer.given(absent), shape))(Unconstrained(shape.parameters(), {}))
    return "while" in _operations(traced)


def _operations(traced: ClosedJaxpr | Jaxpr) -> Iterator[str]:
    """Names of all operations in a trace, including nested ones."""
    for equation in traced.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_trace):
            if _is_trace(value):
                yield from _operations(value)


def _is_trace(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)


def _works_traced(group: str, plugin: Plugin, names: tuple[str, ...], shape: Shape) -> bool:
    def use(values: dict[str, Any]) -> Any:
        return USES[group](plugin.given(values), shape)

    try:
        with in_precision(shape.dtype):
            jax.eval_shape(use, {name: jax.ShapeDtypeStruct((), shape.dtype) for name in names})
    except Exception:
        return False
    return True
