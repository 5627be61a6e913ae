"""Temporary overrides of a config, without a copy and without side effects.

OmegaConf copies a config in milliseconds and changes a node in place in microseconds, but has no way back. Here the
contents of the few containers that lead to a change are saved. The price: private fields of OmegaConf 2.3.
"""

import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer


class TemporaryOverrides:
    """The saved contents of a base while it has the values of one job.

    A container on the way to a key stays, with a shallow copy of its content; the node at the key is replaced by a
    deep copy. So no node of the base is ever changed, and restoring the contents undoes all changes.
    """

    def __init__(self, base: DictConfig):
        self._base = base
        self._resolved = OmegaConf.get_cache(base)
        self._kept: dict[int, tuple[BaseContainer, Any, dict[str, bool] | None]] = {}
        self._own: set[str] = set()

    def make_own(self, key: str) -> None:
        """Prepare the node at a dotted key to be set, deleted or merged into; the containers above it exist."""
        if key in self._own:
            return
        self._own.add(key)
        container: Any = self._base
        *path, last = key.split(".")
        self._keep(container)
        for part in path:
            container = container.__dict__["_content"][part]
            self._keep(container)
        content = container.__dict__["_content"]
        if last in content:
            content[last] = copy.deepcopy(content[last])

    def take_back(self) -> None:
        """Restore the base."""
        for container, content, flags in self._kept.values():
            vars(container)["_content"] = content
            if container._metadata.flags != flags:
                container._metadata.flags = flags
                container._invalidate_flags_cache()
        self._base._metadata.resolver_cache = self._resolved

    def _keep(self, container: BaseContainer) -> None:
        if id(container) not in self._kept:
            content = container.__dict__["_content"]
            self._kept[id(container)] = (container, content, copy.copy(container._metadata.flags))
            vars(container)["_content"] = copy.copy(content)
