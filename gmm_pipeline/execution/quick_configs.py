"""Configs that are copied, written and resolved in a fraction of the time.

Hydra copies a job's config several times and writes it in three files. OmegaConf copies each node by the general
machinery of `copy.deepcopy`, writes YAML in Python, and parses an interpolation each time it is read: tens of
milliseconds per job, and minutes per sweep. The types of nodes are known and their values immutable, so here they are
copied field by field, libyaml writes the same bytes, and parses are cached. The price: private fields of OmegaConf 2.3,
and two of its functions replaced while a sweep is launched; tests hold all of it to what OmegaConf does.
"""

import functools
import importlib.metadata
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import omegaconf.base
import omegaconf.omegaconf
import yaml
from omegaconf import DictConfig, grammar_parser
from omegaconf._utils import OmegaConfDumper
from omegaconf.base import Node
from omegaconf.basecontainer import BaseContainer

log = logging.getLogger(__name__)

VERSIONS = {"hydra-core": "1.3.", "omegaconf": "2.3."}
"""Versions whose private parts are used, here and in `composition`, `temporary_overrides` and `job_files`."""


@functools.cache
def is_known() -> bool:
    """Whether Hydra and OmegaConf are of these versions; with others Hydra composes and writes each job itself."""
    there = {name: importlib.metadata.version(name) for name in VERSIONS}
    unknown = [f"{name} {there[name]}" for name, known in VERSIONS.items() if not there[name].startswith(known)]
    if unknown:
        log.info("%s: jobs are composed and written by Hydra itself, which is slower", ", ".join(unknown))
    return not unknown


class QuickConfig(DictConfig):
    """A `DictConfig` whose deep copies are fast."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "QuickConfig":
        """A copy of this node and all below it; the parent is kept and not copied, as OmegaConf has it."""
        return _copied(self, vars(self)["_parent"])


def quick(cfg: DictConfig) -> QuickConfig:
    """A copy of a config whose own copies are fast."""
    return _copied(cfg, vars(cfg)["_parent"])


class _Dumper(yaml.CDumper):
    """OmegaConf's dumper on top of libyaml."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)  # pyright: ignore[reportArgumentType]


def as_yaml(content: Any) -> str:
    """Plain containers as YAML, with the bytes of `OmegaConf.to_yaml`."""
    return yaml.dump(content, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


_parse = functools.lru_cache(maxsize=1024)(grammar_parser.parse)


@contextmanager
def quickened() -> Iterator[None]:
    """Let OmegaConf write YAML with libyaml, and parse each interpolation once, as long as nothing else replaces them.

    A parse is a tree that is only read, of the text alone: the values it leads to are looked up each time.
    """
    if not is_known():
        yield
        return
    quicker = (
        (omegaconf.omegaconf, "get_omega_conf_dumper", lambda: _Dumper),
        (omegaconf.base, "parse", _parse),
    )
    before = [getattr(module, name) for module, name, _ in quicker]
    for module, name, function in quicker:
        setattr(module, name, function)
    try:
        yield
    finally:
        for (module, name, _), function in zip(quicker, before, strict=True):
            setattr(module, name, function)


def _copied(node: Node, parent: Any) -> Any:
    kind = QuickConfig if type(node) is DictConfig else type(node)
    new = object.__new__(kind)
    fields = vars(new)
    fields.update(vars(node))
    fields["_parent"] = parent
    fields["_metadata"] = _copied_metadata(fields["_metadata"])
    flags, content = fields["_flags_cache"], fields.get("_content")
    fields["_flags_cache"] = dict(flags) if flags is not None and isinstance(node, BaseContainer) else None
    if isinstance(content, dict):
        fields["_content"] = {key: _copied(child, new) for key, child in content.items()}
    elif isinstance(content, list):
        fields["_content"] = [_copied(child, new) for child in content]
    return new


def _copied_metadata(metadata: Any) -> Any:
    new = object.__new__(type(metadata))
    fields = vars(new)
    fields.update(vars(metadata))
    fields["flags"] = None if fields["flags"] is None else dict(fields["flags"])
    cache = defaultdict(dict)
    for resolver, values in fields["resolver_cache"].items():
        cache[resolver] = dict(values)
    fields["resolver_cache"] = cache
    return new
