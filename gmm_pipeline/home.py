"""`~` at the beginning of a path: the home folder, in every key of every command that is a path.

Not every shell replaces it, none does within quotes, and nobody does in a YAML file. Left alone it would name a folder
`~` here for one library and the home folder for another. So it is replaced once, before anything is made of a path: in
the words of the command line before Hydra reads them, and in what Hydra has composed of files. The price: one method of
Hydra's loader of configs is wrapped.
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
"""One value of an override, or of those that a sweep goes through: quoted in either way, or bare."""
BEGINS = re.compile(r"(sqlite:///)?(~[^/]*)")


def expanded(key: str, path: str) -> str:
    """A path, or sqlite:///PATH, with the home folder in the place of `~` or `~USER`.

    Raises:
        InputError: there is no such user.
    """
    found = BEGINS.match(path)
    if found is None:
        return path
    home = os.path.expanduser(found[2])  # noqa: PTH111 - a Path would raise what it does not know
    if home.startswith("~"):
        raise InputError(
            key,
            expected="the home folder of a user of this machine",
            came=found[2],
            remedy=f"Write the whole path; ./{found[2]} is what has this name here.",
        )
    return (found[1] or "") + home + path[found.end() :]


def in_words(words: Sequence[str]) -> list[str]:
    """The words of a command line with the home folder in their paths, quoted as Hydra reads them.

    Raises:
        InputError: a path names a user that is not there.
    """
    return [_in_word(word) for word in words]


def _in_word(word: str) -> str:
    found = SET.fullmatch(word)
    if found is None or "~" not in word:
        return word

    def replaced(element: re.Match[str]) -> str:
        path = next(text for text in element.groups() if text is not None)
        whole = expanded(found[2], path)
        quoted = whole.replace('"', r"\"")
        return element[0] if whole == path else f'"{quoted}"'

    return found[1] + ELEMENT.sub(replaced, found[3])


@contextlib.contextmanager
def in_configs() -> Iterator[None]:
    """Let what Hydra composes meanwhile have the home folder in its paths."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    own = ConfigLoaderImpl.load_configuration

    @functools.wraps(own)
    def load_configuration(*arguments: Any, **settings: Any) -> Any:
        cfg = own(*arguments, **settings)
        for key in PATHS:
            _expand(cfg, key)
        return cfg

    ConfigLoaderImpl.load_configuration = load_configuration
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = own


def _expand(cfg: Any, key: str) -> None:
    """Replace `~` in a value as it was written, whatever is filled into it later."""
    from omegaconf import DictConfig, open_dict, read_write

    *parents, name = key.split(".")
    for parent in parents:
        cfg = (
            cfg._get_node(parent, validate_access=False) if isinstance(cfg, DictConfig) and not cfg._is_none() else None
        )
    node = cfg._get_node(name, validate_access=False) if isinstance(cfg, DictConfig) and not cfg._is_none() else None
    written = None if node is None else node._value()
    if isinstance(written, str) and BEGINS.match(written):
        with read_write(cfg), open_dict(cfg):
            cfg[name] = expanded(key, written)
