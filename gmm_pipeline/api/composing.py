"""The config of a fit from Python, composed from the files of the command line and checked by its schema."""

import contextlib
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline import home
from gmm_pipeline.configuration import command_help, config, config_files
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.errors import InputError
from gmm_pipeline.execution.composition import SweepComposer
from gmm_pipeline.execution.plugins import register_plugins
from gmm_pipeline.records.overrides import hydra_list, hydra_override
from gmm_pipeline.stages.running import check, resolved

FIT = "fit"

OF_FOLDERS = re.compile(r"[+~]*hydra\.(run|sweep|output_subdir|job\.chdir)\b")
"""Begin an override that says where the command line writes to."""
_composing = threading.Lock()
"""Hydra keeps what it composes from in global state."""
_composers: dict[str, SweepComposer] = {}
"""By the name of a primary config."""


def overrides_of(keys: Mapping[str, Any]) -> list[str]:
    """Keywords as overrides: `prior="flat"` is `prior=flat`, `search={"rounds": 40}` is `search.rounds=40`.

    Args:
        keys: values by key; a mapping sets the keys below it.

    Raises:
        InputError: a value is neither a number, a text, a truth value, None nor a list of these.
    """
    return [f"{key}={written(key, value)}" for key, value in leaves_of(keys)]


def listed(overrides: Sequence[str]) -> list[str]:
    """Overrides as a list, which one text alone is not.

    Args:
        overrides: as on the command line.

    Raises:
        InputError: they are a text.
    """
    if isinstance(overrides, str) or not all(isinstance(line, str) for line in overrides):
        remedy = (
            f"Use [{overrides!r}]." if isinstance(overrides, str) else "Each is as on the command line: 'steps=500'."
        )
        raise InputError("overrides", expected="a list of texts", came=repr(overrides), remedy=remedy)
    of_folder = next((line for line in overrides if OF_FOLDERS.match(line)), None)
    if of_folder is not None:
        remedy = "fit(record=FOLDER) writes a record there; nothing else is written."
        raise InputError(
            "overrides", expected="no folder of Hydra's, which has none here", came=of_folder, remedy=remedy
        )
    return list(overrides)


def leaves_of(keys: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; a mapping sets the keys below it.

    Args:
        keys: values by key.
        above: what the keys are below, with a dot at its end.
    """
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def depth(value: Any) -> int:
    """How deeply lists are nested.

    Args:
        value: a list, tuple, range or array, or anything else, which has a depth of 0.
    """
    if not isinstance(value, list | tuple | range | np.ndarray):
        return 0
    return 1 + max((depth(one) for one in value), default=0)


def written(key: str, value: Any) -> str:
    """A value in Hydra's grammar.

    Args:
        key: whose value it is.
        value: a number, a text, a truth value, None, or a list of these.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str() | Path():
            return hydra_override("", str(value))[1:]
        case list() | tuple() | range() | np.ndarray():
            return f"[{','.join(written(key, one) for one in value)}]"
    raise InputError(
        key,
        expected="a number, a text, True, False, None, or a list or mapping of these",
        came=f"{type(value).__name__} {value!r}",
        remedy="Plug-ins of your own are named by _target_ in a YAML file.",
    )


def composed(overrides: Sequence[str], config_dir: str | Path | None = None, command: str = FIT) -> dict[str, Any]:
    """The resolved config of a command, as plain containers.

    Args:
        overrides: as on the command line.
        config_dir: a folder with YAML files of the user's, as for `--config-dir`.
        command: whose config it is.

    Raises:
        InputError: a key or its value cannot be used.
    """
    with composing(overrides, config_dir, command) as (primary, lines):
        cfg = _quickly_composed(primary, lines)
        check(cfg)
        return resolved(cfg)


def _quickly_composed(primary: str, lines: Sequence[str]) -> DictConfig:
    """As Hydra composes it; files of the program, which do not change, are read once for all calls."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    if not all(map(_reads_own_files, lines)):
        return compose(primary, list(lines))
    if primary not in _composers:
        _composers[primary] = SweepComposer(GlobalHydra.instance().config_loader())
    begun = OmegaConf.create({"hydra": {"job": {"config_name": primary}, "overrides": {"hydra": []}}})
    return _composers[primary].compose(begun, lines)


def _reads_own_files(override: str) -> bool:
    """Whether an override sets a value, or chooses a file of the program."""
    key, _, text = override.partition("=")
    if not re.fullmatch(r"[a-z0-9_.]+", key) or key.partition(".")[0] in ("config", "hydra"):
        return False
    group = config.config_directory() / key
    return not group.is_dir() or (group / f"{text}.yaml").is_file()


@contextlib.contextmanager
def composing(
    overrides: Sequence[str], config_dir: str | Path | None, command: str = FIT
) -> Iterator[tuple[str, list[str]]]:
    """Let Hydra compose from the files of the command line, one thread at a time.

    Args:
        overrides: as on the command line.
        config_dir: a folder with YAML files of the user's, as for `--config-dir`.
        command: whose config it is.

    Yields:
        The name of the primary config, and the overrides to compose it with.

    Raises:
        InputError: a key or its value cannot be used, in what is composed inside the block.
    """
    from hydra import initialize_config_dir

    lines = home.in_arguments(overrides)
    if config_dir is not None:
        folder = Path(config_dir).expanduser().absolute()
        if not folder.is_dir():
            remedy = "Name the folder that has data/, prior/ and so on."
            raise InputError("config_dir", expected="a folder", came=str(config_dir), remedy=remedy)
        for doubt in config_files.shadowed(folder):
            warnings.warn(doubt, stacklevel=5)
        lines = [*lines, hydra_list("hydra.searchpath", [f"file://{folder}"])]
    try:
        with _composing:
            config.register()
            command_help.register()
            register_plugins()
            primary = config_files.primary_of(command, lines)
            with home.in_configs(), initialize_config_dir(str(config.config_directory()), version_base="1.3"):
                yield primary, lines
    except Exception as error:
        mistake = as_mistake(error, command, lines)
        if mistake is None:
            raise
        raise mistake from None
