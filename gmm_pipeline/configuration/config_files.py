"""`config=FILE`: a whole resolved config in place of the one that `conf/` composes.

The values of the file become the defaults of the command: a primary config is made of the command's own and of the
file, and Hydra composes from that, so that everything on the command line wins as it always does, a choice of a group
replaces the whole group, and the jobs of a sweep share the file at no cost. Where a command writes to and where it
tracks stay the command's own (`COMMANDS_OWN`). What `conf/` derives from other keys is still derived from them if the
file agrees: with `steps=500` added, a schedule that ended with the last step still does.

The price: the choices of such a command are called `of_file` instead of by name.
"""

import copy
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gmm_pipeline.configuration.checks import check_shape
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.configuration.schemas import COMMANDS_OWN, OF_FILE, SCHEMAS
from gmm_pipeline.errors import InputError, nearest

TAKE_A_FILE = ("fit", "simulate", "animate")
OF_FILES = {name for command in ("fit", "simulate") for name in SCHEMAS[command].__dataclass_fields__}
"""Keys that a file may have: a file for `fit` can be used for the other commands too."""


def primary_of(command: str, arguments: Sequence[str]) -> str:
    """Register the primary config that a command line asks for with Hydra; returns its name.

    Args:
        command: the command's name.
        arguments: of the command line, without the command.

    Raises:
        InputError: the file of `config=FILE` cannot be used.
    """
    file = file_in(arguments) if command in TAKE_A_FILE else None
    if file is None:
        return command
    return register(command, read(file, command))


def shadowed(folder: Path) -> list[str]:
    """Which files of a folder of the user's are not read, since the program has others of their names, as sentences.

    Args:
        folder: as `--config-dir` names it.
    """
    own = config_directory()
    names = [path.relative_to(folder) for path in sorted(folder.glob("*/*.yaml"))]
    return [
        f"{folder / name} is not read: the program has a file of this name, which comes first. Give it another name."
        for name in names
        if (own / name).is_file() and (own / name).read_bytes() != (folder / name).read_bytes()
    ]


def file_in(arguments: Sequence[str]) -> Path | None:
    """The file that `config=FILE` names, if any.

    Raises:
        InputError: several files, or a name that is none.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    named = [word for word in arguments if re.match(r"\+{0,2}config=", word)]
    if not named:
        return None
    try:
        (override,) = OverridesParser.create().parse_overrides(named[-1:])
    except HydraException:
        return None  # reported when all arguments are parsed
    several = override.is_sweep_override()
    value = None if several else override.value()
    if several or not isinstance(value, str | None) or value == "":
        raise InputError(
            "config",
            expected="one YAML file",
            came=named[-1].partition("=")[2] or "nothing",
            remedy="For example config=params.yaml.",
        )
    return None if value is None else Path(value)


def read(file: Path, command: str) -> dict[str, Any]:
    """The values that a command takes from a file: its keys, except those in `COMMANDS_OWN`.

    Args:
        file: the YAML file.
        command: the command that takes its values.

    Raises:
        InputError: the file is no YAML mapping, or has keys or values that no command has.
    """
    content = _mapping(file)
    for key in content:
        if key not in OF_FILES:
            close = nearest(str(key), OF_FILES)
            raise InputError(
                f"{file}: {key}",
                expected="a key of fit",
                came="an unknown name",
                remedy=f"Did you mean {' or '.join(close)}?" if close else "Remove it from the file.",
            )
    own_keys = SCHEMAS[command].__dataclass_fields__
    taken = {
        str(key): _without_idle(key, value, command)
        for key, value in content.items()
        if key in own_keys and key not in COMMANDS_OWN
    }
    _check_values(file, taken, command)
    return {key: _complete(key, value) if isinstance(value, dict) else value for key, value in taken.items()}


def _without_idle(key: str, value: Any, command: str) -> Any:
    """The value of a key, without keys below it that `fit` reads and this command does not."""
    ours, of_fit = (SCHEMAS[name].__dataclass_fields__[key].type for name in (command, "fit"))
    if not isinstance(value, dict) or not is_dataclass(ours):
        return value
    idle = {field.name for field in fields(of_fit)} - {field.name for field in fields(ours)}
    return {name: inner for name, inner in value.items() if name not in idle}


def _complete(group: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A group's values in a file, with the keys that it lacks taken from `conf/`: older records have fewer.

    Nothing is added for functions of other packages, which have their own defaults, or if several options name one.
    """
    target = value.get("_target_")
    options = [_plain(OmegaConf.load(path)) for path in (config_directory() / group).glob("*.yaml")]
    alike = [option for option in options if option.get("_target_") == target and "defaults" not in option]
    if len(alike) != 1 or not (target is None or str(target).startswith("gmm_pipeline.")):
        return dict(value)
    return _plain(OmegaConf.merge(alike[0], dict(value)))


def _mapping(file: Path) -> dict[Any, Any]:
    if not file.is_file():
        beside = sorted(str(path) for path in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
        close = nearest(str(file), beside)
        raise InputError(
            "config",
            expected="a YAML file",
            came=f"{file}, which {'is a folder' if file.is_dir() else 'does not exist'}",
            remedy=f"Did you mean {close[0]}?" if close else "For example the config.yaml of a record.",
        )
    try:
        # OmegaConf's loader is a safe one, and reads 1e-3 as the number that it is to Hydra.
        loaded = OmegaConf.load(file)
        content = OmegaConf.to_container(loaded, resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError, RecursionError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise _not_a_config(file, said[:200]) from error
    if not isinstance(content, dict) or not content:
        raise _not_a_config(file, "a list" if content else "nothing")
    if list(content.values()) == [None]:  # what OmegaConf makes of a text
        raise _not_a_config(file, f"the text {textwrap.shorten(str(next(iter(content))), 60, placeholder=' …')!r}")
    return content


def _not_a_config(file: Path, came: str) -> InputError:
    return InputError(
        str(file),
        expected="a YAML mapping of keys to values",
        came=came,
        remedy="Give the config.yaml of a record, or what `fit --cfg job --resolve` prints.",
    )


def _check_values(file: Path, taken: Mapping[str, Any], command: str) -> None:
    for key, value in _leaves(taken):
        if isinstance(value, str) and ("${" in value or value == "???"):
            raise InputError(
                f"{file}: {key}",
                expected="a value",
                came=value,
                remedy="Give a resolved config, as `fit --cfg job --resolve` prints it.",
            )
    for group in _groups(command):
        if group not in taken or SCHEMAS[command].__dataclass_fields__[group].type is not Any:
            continue  # the schema knows its keys
        if not (isinstance(taken[group], dict) and "_target_" in taken[group]):
            raise InputError(
                f"{file}: {group}",
                expected="keys and values, with a _target_ among them",
                came=str(taken[group]),
                remedy=f"Leave {group} out to use the default.",
            )
    check_shape(SCHEMAS[command], taken, file=str(file))
    try:
        OmegaConf.merge(OmegaConf.structured(SCHEMAS[command]), taken)
    except OmegaConfBaseException as error:
        mistake = as_mistake(error, command)
        if mistake is None:
            raise
        raise InputError(
            f"{file}: {mistake.where}", expected=mistake.expected, came=mistake.came, remedy=mistake.remedy
        ) from error


def register(command: str, taken: Mapping[str, Any], overlay: str | None = None) -> str:
    """Register a command's primary config with a file's values as defaults; returns its name.

    Args:
        command: whose config it is.
        taken: keys and values, checked.
        overlay: another command whose group choices and Hydra settings are used instead, if any.
    """
    from hydra.core.config_store import ConfigStore

    store, name = ConfigStore.instance(), f"{command}_{OF_FILE}"
    primary = _plain(OmegaConf.load(config_directory() / f"{command}.yaml"))
    values = _derived(taken, primary)
    groups = {group: values.pop(group) for group in _groups(command) if group in values}
    for group, node in groups.items():
        store.store(group=group, name=OF_FILE, node=node)
    choices = dict.fromkeys(groups, OF_FILE)
    settings: dict[str, Any] = {}
    if overlay is not None:
        over = _plain(OmegaConf.load(config_directory() / f"{overlay}.yaml"))
        for entry in over["defaults"]:
            choices |= entry if isinstance(entry, dict) else {}
        settings = {"hydra": over["hydra"]}
    defaults = [
        {group: choices.get(group, option) for group, option in entry.items()} if isinstance(entry, dict) else entry
        for entry in primary.pop("defaults")
    ]
    store.store(name=name, node={"defaults": defaults, **_plain(OmegaConf.merge(primary, values, settings))})
    return name


def _groups(command: str) -> list[str]:
    """The groups that a file may set."""
    primary = _plain(OmegaConf.load(config_directory() / f"{command}.yaml"))
    named = [name for entry in primary["defaults"] if isinstance(entry, dict) for name in entry]
    return [name for name in named if name in SCHEMAS[command].__dataclass_fields__ and name not in COMMANDS_OWN]


def _derived(taken: Mapping[str, Any], primary: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the interpolations of `conf/` in their place where these give the same value."""
    given, derived = OmegaConf.create(dict(taken)), OmegaConf.create(dict(taken))
    for key, rule in _rules(taken, primary):
        tried = copy.deepcopy(given)
        OmegaConf.update(tried, key, rule)
        try:
            agrees = OmegaConf.select(tried, key) == OmegaConf.select(given, key)
        except OmegaConfBaseException:  # the file lacks what it is derived from
            continue
        if agrees:
            OmegaConf.update(derived, key, rule)
    return _plain(derived)


def _rules(taken: Mapping[str, Any], primary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted keys that `conf/` derives from others, with their interpolations."""
    for key, value in taken.items():
        if "${" in str(primary.get(key)):
            yield key, primary[key]
        elif isinstance(value, dict) and "_target_" in value:
            for path in sorted((config_directory() / key).glob("*.yaml")):
                option = _plain(OmegaConf.load(path))
                if option.get("_target_") == value["_target_"]:
                    rules = ((name, rule) for name, rule in option.items() if name in value)
                    yield from ((f"{key}.{name}", rule) for name, rule in rules if "${" in str(rule))


def _plain(cfg: Any) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(cfg, resolve=False)
    return content


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
