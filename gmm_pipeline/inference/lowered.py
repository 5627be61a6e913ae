"""Large programs are traced once for all processes: JAX's traces are cached on disk, like XLA's compiled programs.

Once programs are compiled, tracing and lowering them takes most of the time of a short fit. So StableHLO is cached
(`jax.export`) under a digest of everything that a trace depends on: the source of this package, versions, JAX's
settings, the function and its static arguments by name, shapes and types. A function whose source is not part of the
digest, such as a user's plug-in, is traced each time, and so is everything on devices other than CPUs. The price: a
layer between a function and `jax.jit`, which a test holds to the same bits.
"""

import contextlib
import functools
import hashlib
import importlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import jax

from gmm_pipeline.inference import devices
from gmm_pipeline.inference.plugins import Plugin

log = logging.getLogger(__name__)

LINALG, INITIALIZE = "jax._src.lax.linalg", "initialize_lapack"
"""A private function of JAX's, and where it is."""
UNKNOWN_OPTION = re.compile(r"No such compile option: '(\w+)'")
LEFT_OUT = ("_dir", "_to", "_default_device")
"""What the names of settings end with that do not belong to a trace."""
IDENTIFIED = ("gmm_pipeline", "optax", "jax")
"""Packages whose source is identified by a digest or a version."""


@runtime_checkable
class Store(Protocol):
    """Where traces are kept."""

    @property
    def code(self) -> str:
        """A digest of the source and the versions of what is traced."""
        ...

    def read(self, name: str) -> bytes | None:
        """The trace of this name; None if there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Store a trace, if possible.

        Args:
            name: a digest, in hexadecimal digits.
            content: the trace, serialised.
        """
        ...


class _Place:
    """A compiled program; None if its trace cannot be cached."""

    def __init__(self) -> None:
        self.lock, self.is_filled = threading.Lock(), False
        self.compiled: Callable[..., Any] | None = None


_lock = threading.Lock()
_stores: list[Store] = []


def keep_in(store: Store | None) -> None:
    """Cache traces in this store from now on; None for nowhere."""
    _stores[:] = [] if store is None else [store]


def program(
    function: Callable[..., Any], *, static: str, compiler_options: dict[str, Any] | None
) -> Callable[..., Any]:
    """`jax.jit` of a function of arrays with one static keyword, with cached traces.

    A compiler option that this version of XLA does not have is left out, with a line in the log.

    Args:
        function: a function of a module, or a partial of one.
        static: the name of the static argument.
        compiler_options: of `jax.jit`.
    """
    options = dict(compiler_options or {})
    current = [_program(function, static, options or None)]

    def call(*arguments: Any, **fixed: Any) -> Any:
        while True:
            try:
                return current[0](*arguments, **fixed)
            except jax.errors.JaxRuntimeError as error:
                refused = UNKNOWN_OPTION.search(str(error))
                if refused is None or refused[1] not in (compiler_options or {}):
                    raise
                with _lock:  # of several threads with the same error, one drops the option
                    if options.pop(refused[1], None) is not None:
                        log.info("XLA of JAX %s has no option %s: it is left out", jax.__version__, refused[1])
                        current[0] = _program(function, static, dict(options) or None)

    return call


def _program(function: Callable[..., Any], static: str, compiler_options: dict[str, Any] | None) -> Callable[..., Any]:
    jitted = jax.jit(function, static_argnames=static, compiler_options=compiler_options)
    places: dict[Any, _Place] = {}

    def call(*arguments: Any, **fixed: Any) -> Any:
        if not _stores or jax.default_backend() != "cpu":
            return jitted(*arguments, **fixed)
        leaves, structure = jax.tree.flatten(arguments)
        types = tuple(str(jax.typeof(leaf)) + "~" * bool(jax.typeof(leaf).weak_type) for leaf in leaves)
        # What is compiled belongs to a device, whichever it is called on.
        key = (structure, types, tuple(fixed.items()), _settings(), devices.current())
        with _lock:
            place = places.setdefault(key, _Place())
        with place.lock:  # of several threads that need the same program, one compiles it
            if not place.is_filled:
                once = functools.partial(function, **fixed)
                place.compiled = _loaded(once, structure, leaves, types, compiler_options)
                place.is_filled = True
        return jitted(*arguments, **fixed) if place.compiled is None else place.compiled(*leaves)

    return call


def _settings() -> tuple[str, ...]:
    """JAX's settings, except those that are paths, and except the device, for all of which there is one trace."""
    values = jax.config.values.items()
    return tuple(f"{name}={value}" for name, value in sorted(values) if not name.endswith(LEFT_OUT))


def _loaded(
    function: Callable[..., Any], structure: Any, leaves: list[Any], types: tuple[str, ...], options: Any
) -> Callable[..., Any] | None:
    """Compile a function of the leaves from a cached trace, or cache it; None if it cannot be cached."""
    (store,) = _stores
    try:
        described = [store.code, _named(function), str(structure), *types, *_settings()]
        name = hashlib.sha256("\n".join(described).encode()).hexdigest()
        kept = _read(store.read(name))
        if kept is None:
            content = _traced(function, structure, leaves)
            store.write(name, content)
            kept = _read(content)
    except Exception:  # the caller traces without the cache, which raises the actual error
        return None
    if kept is None:
        return None
    result, exported = kept

    def run(*leaves: Any) -> Any:
        return exported.call(*leaves)

    run.__name__ = _plain(function).__name__
    with _lock, _without_lapack(exported):
        lowered = jax.jit(run, compiler_options=options).lower(*leaves)
    compiled = lowered.compile()
    return lambda *leaves: jax.tree.unflatten(result, compiled(*leaves))


@contextlib.contextmanager
def _without_lapack(exported: Any) -> Iterator[None]:
    """Keep JAX from importing SciPy (0.15 s) to lower a trace that does not use LAPACK."""
    linalg = None if b"lapack" in exported.mlir_module_serialized else _with_lapack()
    if linalg is None:
        yield
        return
    own = getattr(linalg, INITIALIZE)
    setattr(linalg, INITIALIZE, lambda: None)
    try:
        yield
    finally:
        setattr(linalg, INITIALIZE, own)


@functools.cache
def _with_lapack() -> Any:
    """JAX's module that imports SciPy for LAPACK; None, logged once, if this version of JAX has no such function."""
    try:
        linalg = importlib.import_module(LINALG)
    except ImportError:
        linalg = None
    if hasattr(linalg, INITIALIZE):
        return linalg
    log.info("JAX %s has no %s.%s: SciPy is imported to lower what is kept", jax.__version__, LINALG, INITIALIZE)
    return None


def _traced(function: Callable[..., Any], structure: Any, leaves: list[Any]) -> bytes:
    """The structure of a function's result as one line of JSON, followed by its trace."""
    from jax import export

    results: list[Any] = []

    def flat(*leaves: Any) -> list[Any]:
        found, result = jax.tree.flatten(function(*jax.tree.unflatten(structure, leaves)))
        results.append(result)
        return found

    exported = export.export(jax.jit(flat))(*leaves)
    form = _form(jax.tree.unflatten(results[-1], [0] * results[-1].num_leaves))
    return json.dumps(form).encode() + b"\n" + exported.serialize()


def _read(content: bytes | None) -> tuple[Any, Any] | None:
    """The structure of a result and its trace; None if missing or truncated."""
    if content is None:
        return None
    from jax import export

    form, _, trace = content.partition(b"\n")
    try:
        return jax.tree.structure(_of_form(json.loads(form))), export.deserialize(bytearray(trace))
    except Exception:  # deserialisers raise anything on damaged bytes
        return None


def _plain(function: Any) -> Any:
    return _plain(function.func) if isinstance(function, functools.partial) else function


def _named(value: Any) -> str:
    """A text for a static argument that is the same in every process.

    Raises:
        TypeError: it has no such text, or its source is not identified.
    """
    if isinstance(value, functools.partial):
        return f"{_named(value.func)}({_named(value.args)}, {_named(tuple(sorted(value.keywords.items())))})"
    if isinstance(value, Plugin):
        return f"{_named(value.function)}({_named(value.hyperparameters)})"
    if isinstance(value, tuple):
        return f"{type(value).__qualname__}({', '.join(map(_named, value))})"
    if value is None or isinstance(value, bool | int | float | str | Enum):
        return repr(value)
    if callable(value):
        return _name_of(value)
    raise TypeError(f"{type(value)} has no name")


def _name_of(value: Any) -> str:
    if value.__module__.partition(".")[0] not in IDENTIFIED or "<" in value.__qualname__:
        raise TypeError(f"the source of {value} is not known")
    return f"{value.__module__}:{value.__qualname__}"


def _form(tree: Any) -> Any:
    """The structure of a tree as JSON: containers by name, 0 for each leaf."""
    if tree is None or type(tree) is int:
        return tree
    if isinstance(tree, dict):
        return {"keys": list(tree), "items": [_form(item) for item in tree.values()]}
    if isinstance(tree, tuple | list):
        kind = _name_of(type(tree)) if hasattr(tree, "_fields") else type(tree).__name__
        return {"kind": kind, "items": [_form(item) for item in tree]}
    raise TypeError(f"{type(tree)} has no form")


def _of_form(form: Any) -> Any:
    if not isinstance(form, dict):
        return form
    items = [_of_form(item) for item in form["items"]]
    if "keys" in form:
        return dict(zip(form["keys"], items, strict=True))
    if form["kind"] in ("tuple", "list"):
        return tuple(items) if form["kind"] == "tuple" else items
    module, _, name = form["kind"].partition(":")
    if module.partition(".")[0] not in IDENTIFIED:
        raise TypeError(f"{module} is not known")
    return getattr(importlib.import_module(module), name)(*items)
