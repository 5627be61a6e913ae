"""The config of a fit from Python, composed from the files of the command line and checked by its schema."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmm_pipeline import home
from gmm_pipeline.configuration import command_help, config, config_files
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.errors import InputError
from gmm_pipeline.execution.plugins import register_plugins
from gmm_pipeline.records.overrides import hydra_list, hydra_override
from gmm_pipeline.stages.running import check, resolved

FIT = "fit"

_composing = threading.Lock()
"""Hydra keeps what it composes from in global state."""


def overrides_of(keys: Mapping[str, Any]) -> list[str]:
    """Keywords as overrides: `prior="flat"` is `prior=flat`, `search={"rounds": 40}` is `search.rounds=40`.

    Args:
        keys: values by key; a mapping sets the keys below it.

    Raises:
        InputError: a value is neither a number, a text, a truth value, None nor a list of these.
    """
    return [line for key, value in keys.items() for line in _lines(key, value)]


def _lines(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _lines(f"{key}.{name}", inner)
    elif isinstance(value, str | Path):
        yield hydra_override(key, str(value))
    else:
        yield f"{key}={_written(key, value)}"


def _written(key: str, value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return hydra_override(key, value).partition("=")[2]
        case list() | tuple() | range() | np.ndarray():
            return f"[{','.join(_written(key, one) for one in value)}]"
    raise InputError(
        key,
        expected="a number, a text, True, False, None, or a list or mapping of these",
        came=f"{type(value).__name__} {value!r}",
        remedy="Plug-ins of your own are named by _target_ in a YAML file.",
    )


def composed(overrides: Sequence[str], config_dir: str | Path | None = None, *, command: str = FIT) -> dict[str, Any]:
    """The resolved config of a command, as plain containers.

    Args:
        overrides: as on the command line.
        config_dir: a folder with YAML files of the user's, as for `--config-dir`.
        command: its name.

    Raises:
        InputError: a key or its value cannot be used.
    """
    lines = home.in_arguments(overrides)
    if config_dir is not None:
        folder = Path(config_dir).expanduser().absolute()
        lines = [*lines, hydra_list("hydra.searchpath", [f"file://{folder}"])]
    try:
        with _composing:
            return _composed(command, lines)
    except Exception as error:
        mistake = as_mistake(error, command, lines)
        if mistake is None:
            raise
        raise mistake from None


def _composed(command: str, overrides: list[str]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir

    config.register()
    command_help.register()
    register_plugins()
    primary = config_files.primary_of(command, overrides)
    with home.in_configs(), initialize_config_dir(str(config.config_directory()), version_base="1.3"):
        cfg = compose(primary, overrides)
    check(cfg, overrides)
    return resolved(cfg)
