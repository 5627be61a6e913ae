"""`~` at the beginning of a path: the home folder, in every key of every command that is a path.

Not every shell expands it, none does within quotes, and nothing does in a YAML file. Left alone, it would mean a folder
named `~` to one library and the home folder to another. So it is replaced once, before any path is used: in the command
line's arguments before Hydra reads them, in the environment, and in what Hydra has composed from files. The price: one
method of Hydra's config loader is wrapped.
"""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from gmm_pipeline.errors import InputError

PATHS = (
    "outputs_dir",
    "output",
    "run",
    "config",
    "film",
    "compilation_cache",
    "data.path",
    "data.truth",
    "tracking.uri",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
SET = re.compile(rf"(\+{{0,2}}({'|'.join(map(re.escape, PATHS))})=)(.*)", re.DOTALL)
ELEMENT = re.compile(r"""(?<![^=,(\[])(?:"([^"\\]*)"|'([^'\\]*)'|([^,()\[\]"'\\]+))(?=[,)\]]|$)""")
"""One value of an override, or one of several in a sweep: in single or double quotes, or bare."""
BEGINS = re.compile(r"(sqlite:///)?(~[^/]*)")
OF_FOLDERS = {"--config-dir": "-cd", "--config-path": "-cp"}
"""Hydra's flags that take a folder, and their short forms."""
IN_ENVIRONMENT = ("JAX_COMPILATION_CACHE_DIR",)
"""Environment variables that hold paths and that other libraries read too."""
SWEPT = "hydra.sweeper.params"
"""What a config sweeps over: values by key, as on the command line."""


def expanded(key: str, path: str) -> str:
    """A path, or sqlite:///PATH, with the home folder in the place of `~` or `~USER`.

    Args:
        key: the config key, flag or variable that holds the path, for the message.
        path: as the user wrote it.

    Raises:
        InputError: there is no such user.
    """
    found = BEGINS.match(path)
    if found is None:
        return path
    home = os.path.expanduser(found[2])  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if home.startswith("~"):
        raise InputError(
            key,
            expected="the home folder of a user of this machine",
            came=found[2],
            remedy=f"Write the whole path, or ./{found[2]} for a file of this name in the current folder.",
        )
    return (found[1] or "") + home + path[found.end() :]


def in_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line with the home folder in their paths, quoted as Hydra reads them.

    Raises:
        InputError: a path names a user that does not exist.
    """
    found: list[str] = []
    for argument in arguments:
        flag, equals, path = argument.partition("=")
        if argument.startswith("-") and equals and _takes_a_folder(flag):
            found.append(f"{flag}={expanded(flag, path)}")
        elif found and _takes_a_folder(found[-1]):
            found.append(expanded(found[-1], argument))
        else:
            found.append(_in_argument(argument))
    return found


def _takes_a_folder(flag: str) -> bool:
    """Whether an argument is a flag that takes a folder; a long one may be abbreviated if unambiguous."""
    abbreviates = len(flag) > 2 and any(name.startswith(flag) for name in OF_FOLDERS)
    return abbreviates or flag in OF_FOLDERS.values()


def in_environment() -> None:
    """Expand `~` in the environment variables that hold paths.

    Raises:
        InputError: a path names a user that does not exist.
    """
    for name in IN_ENVIRONMENT:
        if name in os.environ:
            os.environ[name] = expanded(name, os.environ[name])


def _in_argument(argument: str) -> str:
    found = SET.fullmatch(argument)
    if found is None or "~" not in argument:
        return argument

    def replaced(element: re.Match[str]) -> str:
        path = next(text for text in element.groups() if text is not None)
        whole = expanded(found[2], path)
        quoted = whole.replace('"', r"\"")
        return element[0] if whole == path else f'"{quoted}"'

    return found[1] + ELEMENT.sub(replaced, found[3])


@contextlib.contextmanager
def in_configs() -> Iterator[None]:
    """Expand `~` in the paths of every config that Hydra composes inside this block."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    own = ConfigLoaderImpl.load_configuration

    @functools.wraps(own)
    def load_configuration(*arguments: Any, **settings: Any) -> Any:
        cfg = own(*arguments, **settings)
        for key in PATHS:
            _expand(cfg, key)
        _expand_swept(cfg)
        return cfg

    ConfigLoaderImpl.load_configuration = load_configuration
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = own


def _expand(cfg: Any, key: str) -> None:
    """Expand `~` in a value as it was written, before interpolations are resolved."""
    from omegaconf import open_dict, read_write

    *parents, name = key.split(".")
    cfg = _node(cfg, *parents)
    node = _node(cfg, name)
    written = None if node is None else node._value()
    if isinstance(written, str) and BEGINS.match(written):
        with read_write(cfg), open_dict(cfg):
            cfg[name] = expanded(key, written)


def _expand_swept(cfg: Any) -> None:
    """Expand `~` in the values that a config sweeps over."""
    from omegaconf import read_write

    swept = _node(cfg, *SWEPT.split("."))
    for key in list(swept or {}):
        written = _node(swept, key)._value()
        if isinstance(written, str) and "~" in written:
            with read_write(swept):
                swept[key] = _in_argument(f"{key}={written}").partition("=")[2]


def _node(cfg: Any, *parts: str) -> Any:
    """The unresolved node at a dotted key, given as its parts; None if there is none."""
    from omegaconf import DictConfig

    for part in parts:
        if not isinstance(cfg, DictConfig) or cfg._is_none() or cfg._is_interpolation():
            return None
        cfg = cfg._get_node(part, validate_access=False)
    return cfg
