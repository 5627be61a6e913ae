"""The functions that a config names by `_target_`, and what is made of them: plug-ins and data.

A config may come from a stranger, and a name reaches everything that Python can import. So a target must be *defined*
in a module that is there for its group (`DEFINED_IN`), or in a package that the user allows: by `plugins.allow`, which
is taken from the command line and never from a record or another file of values, or by an entry point of the installed
package that has it. A module is only a way to the function: what it imports itself is not defined there. A function
gets numbers, texts and lists of these.

The price: a plug-in's arguments are checked by its signature alone; and whoever allows a package allows each function
of it.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.configuration import checks
from gmm_pipeline.configuration.config import check_jax, config_directory
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.inference.plugins import Plugin

if TYPE_CHECKING:
    from gmm_pipeline.records.datasets import Dataset

ENTRY_POINTS = "gmm_pipeline.plugins"
"""Group of entry points whose packages are allowed."""
# Of JAX the schedules alone: jax.numpy, for one, has a function that reads pickles.
DEFINED_IN = {
    "data": (
        "gmm_pipeline.records.datasets",
        "gmm_pipeline.records.multivariate",
        "gmm_pipeline.records.passed",
        "gmm_pipeline.records.random_mixture_data",
    ),
    "prior": ("gmm_pipeline.model.priors",),
    "init": ("gmm_pipeline.model.inits", "gmm_pipeline.model.given_starts"),
    "optimizer": ("optax", "gmm_pipeline.inference.em"),
    "schedule": ("optax", "jax.example_libraries.optimizers", "gmm_pipeline.inference.optimizers"),
}
"""By group, the packages and modules whose functions a config may name."""
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
BATCHED = ("optimizer", "prior", "init", "schedule")
"""Groups whose floats may differ between the runs of one program."""


def build_plugin(cfg: DictConfig, name: str) -> Plugin:
    """The function that the node `name` points at by `_target_`, with the node's other keys as hyperparameters.

    Args:
        cfg: the config.
        name: the node's key, which is also the name of its group.

    Raises:
        InputError: where there is no such function, or it does not take these hyperparameters.
    """
    node = OmegaConf.select(cfg, name)
    target = OmegaConf.select(node, "_target_") if OmegaConf.is_dict(node) else None
    if target is None:
        options = sorted(path.stem for path in (config_directory() / name).glob("*.yaml"))
        raise InputError(
            name,
            expected="a config with a _target_",
            came=str(node),
            remedy=f"Choose one of {', '.join(options)} with {name}=NAME.",
        )
    allowed = OmegaConf.select(cfg, "plugins.allow") or ()
    return _built_plugin(name, _as_text(node), tuple(allowed))


def _as_text(node: Any) -> str:
    return json.dumps(OmegaConf.to_container(node, resolve=True), sort_keys=True)


def check_allowed(allowed: Sequence[str]) -> None:
    """Refuse packages that there are not: a typing error would otherwise allow nothing, without a word.

    Only the package is looked for, since a module in it could be found by importing the package alone.

    Args:
        allowed: of the config.

    Raises:
        InputError: which one.
    """
    for name in allowed:
        package = str(name).partition(".")[0]
        if not package.isidentifier() or (package not in sys.modules and importlib.util.find_spec(package) is None):
            raise InputError(
                "plugins.allow",
                expected="packages or modules that can be imported",
                came=str(name),
                remedy="Check the name, and that its package is installed in this environment.",
            )


def function_of(group: str, target: str, allowed: Sequence[str] = ()) -> Callable[..., Any]:
    """The function of a dotted name, if a config may name it.

    Args:
        group: of the config, which says where its functions are defined.
        target: the dotted name, as in `optax.adam`.
        allowed: further packages or modules that the user trusts.

    Raises:
        InputError: there is no such function, or it is defined elsewhere.
    """
    where = f"{group}._target_"
    trusted = (*DEFINED_IN[group], *allowed)
    package = target.partition(".")[0]
    if DOTTED.fullmatch(target) is None:
        raise _no_function(where, target)
    # Importing a module runs it, so that a package which nobody trusts is not even looked for.
    if package not in {one.partition(".")[0] for one in trusted}:
        if package not in _entry_points():
            raise _not_trusted(where, trusted, repr(target), target.rpartition(".")[0])
        trusted = (*trusted, package)
    function = _imported(target, trusted)
    if function is None or not callable(function) or inspect.isclass(function):
        raise _no_function(where, target)
    module = getattr(function.func if isinstance(function, functools.partial) else function, "__module__", None)
    if not isinstance(module, str) or not any(f"{module}.".startswith(f"{one}.") for one in trusted):
        raise _not_trusted(where, trusted, f"{target!r}, which is defined in {module or 'no module'}", str(module))
    return function


def _imported(target: str, trusted: Sequence[str]) -> Any:
    """The attribute of a module that a dotted name leads to; None if there is none.

    Importing a module runs it, so that only trusted ones are imported, and those on the way to them.
    """
    package, *parts, name = target.split(".")
    found: Any = _module(package)
    for part in parts:
        inner = getattr(found, part, None)
        if not isinstance(inner, ModuleType) and isinstance(found, ModuleType):
            inner = _module(f"{found.__name__}.{part}") if _may_import(f"{found.__name__}.{part}", trusted) else None
        found = inner
    return getattr(found, name, None) if isinstance(found, ModuleType) else None


def _may_import(name: str, trusted: Sequence[str]) -> bool:
    """Whether a module is trusted, or on the way to one that is; one that runs as a program is not."""
    inside = any(f"{name}.".startswith(f"{one}.") for one in trusted)
    return (inside or any(one.startswith(f"{name}.") for one in trusted)) and not name.endswith(".__main__")


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise


@functools.cache
def _entry_points() -> frozenset[str]:
    """Packages that installed distributions offer plug-ins from."""
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return frozenset(point.module.partition(".")[0] for point in found)


def _no_function(where: str, target: str) -> InputError:
    remedy = "Check the name, and that its package is installed in this environment."
    expected = "the dotted name of a function that can be imported"
    return InputError(where, expected=expected, came=repr(target), remedy=remedy)


def _not_trusted(where: str, trusted: Sequence[str], came: str, package: str) -> InputError:
    return InputError(
        where,
        expected=f"a function that is defined in {', '.join(trusted[:-1])} or {trusted[-1]}"
        if len(trusted) > 1
        else f"a function that is defined in {trusted[0]}",
        came=came,
        remedy="Name one that is."
        if package.partition(".")[0] in sys.stdlib_module_names
        else f"If you trust all code of that package: plugins.allow=[{package}].",
    )


@functools.lru_cache(maxsize=256)
def _built_plugin(name: str, node: str, allowed: tuple[str, ...]) -> Plugin:
    """A plug-in from its node as text, so that the runs of a sweep that share it build it once."""
    content = json.loads(node)
    checks.check_function(name, content)
    function = function_of(name, str(content.pop("_target_")), allowed)
    signature = _check_signature(name, function, content)
    values = {key: _as_declared(name, signature, key, _hashable(value)) for key, value in content.items()}
    return Plugin(function, tuple(sorted(values.items())))


def build_dataset(cfg: DictConfig, stamp: tuple[int, int] | None = None) -> "Dataset":
    """The data that the node `data` declares.

    Args:
        cfg: the config.
        stamp: of the file that it names, as `stamp_of_data` gives it.

    Raises:
        InputError: where they cannot be had or fitted.
    """
    import jax

    partitionable = bool(jax.config.values["jax_threefry_partitionable"])
    loader = build_plugin(cfg, "data")
    try:
        return _built_dataset(loader, stamp, partitionable)
    except (RuntimeError, AssertionError):
        check_jax()  # data may be drawn with it
        raise


def stamp_of_data(node: Any) -> tuple[int, int] | None:
    """Time and size of the file that a data node names; None where it names none that is there."""
    path = node.get("path") if isinstance(node, dict) else None
    file = Path(str(path)) if path is not None else None
    return (file.stat().st_mtime_ns, file.stat().st_size) if file is not None and file.is_file() else None


@functools.lru_cache(maxsize=8)
def _built_dataset(loader: Plugin, stamp: tuple[int, int] | None, threefry_partitionable: bool) -> "Dataset":
    """Data, cached for later runs of a sweep that use the same unchanged file or the same draws."""
    return loader()


def _check_signature(name: str, function: Callable[..., Any], hyperparameters: dict[str, Any]) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except ValueError as error:  # of some that are written in C
        raise InputError(
            f"{name}._target_",
            expected="a function that says which hyperparameters it takes",
            came=f"{function.__module__}.{function.__qualname__}",
            remedy="Name a function that is written in Python.",
        ) from error
    try:
        signature.bind_partial(**hyperparameters)
    except TypeError as error:
        unknown = next((key for key in hyperparameters if key not in signature.parameters), name)
        close = nearest(unknown, signature.parameters)
        raise InputError(
            f"{name}.{unknown}",
            expected=f"a hyperparameter of {function.__qualname__}: {', '.join(signature.parameters)}",
            came=unknown,
            remedy=f"Did you mean {' or '.join(close)}?" if close else f"Remove {name}.{unknown}.",
        ) from error
    for parameter in signature.parameters.values():
        required = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if required and parameter.name not in hyperparameters:
            raise checks.missing_value(f"{name}.{parameter.name}")
    return signature


def _as_declared(name: str, signature: inspect.Signature, key: str, value: Any) -> Any:
    """A hyperparameter as its function declares it.

    If that is a float, a whole number is converted: a sweep over 1, 2.5 is over floats. Nothing else is, neither a
    text that reads as a number nor a truth value, as NumPy would do.
    """
    declared = signature.parameters.get(key)
    annotation = "" if declared is None else str(declared.annotation)
    is_list, takes_text = isinstance(value, tuple), re.search(r"\bstr\b", annotation) is not None
    if takes_text and annotation.startswith("collections.abc.Sequence") and type(value) in (str, int, float):
        return (value,)
    remedy = f"Decimal numbers have a point, as in 0.05; leave {name}.{key} out to use the default."
    if annotation.startswith("collections.abc.Sequence") and not is_list:
        expected, remedy = "a list, as in [1,2]", f"Leave {name}.{key} out to use the default."
    elif takes_text and is_list and not re.search(r"\b(Sequence|tuple|list|Any)\b", annotation):
        expected, remedy = "a text", f"Leave {name}.{key} out to use the default."
    elif re.search(r"\bfloat\b", annotation) and not re.search(r"\b(str|Sequence|tuple|list|Any)\b", annotation):
        if type(value) in (int, float):
            return float(value) if name in BATCHED else value
        if value is None and re.search(r"\b(None|NoneType|Optional)\b", annotation):
            return value
        expected = "a number"
    else:
        return value
    raise InputError(
        f"{name}.{key}",
        expected=expected,
        came="none" if value is None else repr(list(value) if is_list else value),
        remedy=remedy,
    )


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value
