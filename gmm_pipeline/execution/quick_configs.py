"""Configs that are copied and written in a fraction of the time.

Hydra copies a job's config several times and writes it in three files. OmegaConf copies each node by the general
machinery of `copy.deepcopy`, and writes YAML in Python: tens of milliseconds a job, and minutes a sweep. A config's
nodes are known, and their values are immutable: here they are copied field by field, and libyaml writes the same bytes.
The price: private fields of OmegaConf 2.3, and one of its functions replaced for a moment; tests hold both to what
OmegaConf does.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import omegaconf.omegaconf
import yaml
from omegaconf import DictConfig
from omegaconf._utils import OmegaConfDumper
from omegaconf.base import Node
from omegaconf.basecontainer import BaseContainer


class QuickConfig(DictConfig):
    """A `DictConfig` in everything but the time that a deep copy takes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "QuickConfig":
        """A copy of this node and all below it; the parent is kept and not copied, as OmegaConf has it."""
        return _copied(self, vars(self)["_parent"])


def quick(cfg: DictConfig) -> QuickConfig:
    """The same config, a copy, whose own copies are quick."""
    return _copied(cfg, vars(cfg)["_parent"])


class _Dumper(yaml.CDumper):
    """OmegaConf's dumper on top of libyaml."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)  # pyright: ignore[reportArgumentType]


@contextmanager
def quick_yaml() -> Iterator[None]:
    """Let `OmegaConf.to_yaml` write with libyaml; for the caller's thread, as long as no other writes configs."""
    name, module = "get_omega_conf_dumper", omegaconf.omegaconf
    before = getattr(module, name)
    setattr(module, name, lambda: _Dumper)
    try:
        yield
    finally:
        setattr(module, name, before)


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
