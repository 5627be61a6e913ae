"""A config that carries other values for a while, without a copy and without a trace.

OmegaConf copies a config in milliseconds and changes a node in place in microseconds, but has no way back. Here the
contents of the few containers that lead to a change are put aside. The price: private fields of OmegaConf 2.3.
"""

import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer


class TemporaryOverrides:
    """What was put aside while a base carries the values of one job.

    A container on the way to a key stays, with a shallow copy of its content; the node at the key is replaced by a
    copy, with all that is in it. So nothing of the base is ever changed, and taking back is putting contents back.
    """

    def __init__(self, base: DictConfig):
        self._base = base
        self._resolved = OmegaConf.get_cache(base)
        self._kept: dict[int, tuple[BaseContainer, Any, dict[str, bool] | None]] = {}
        self._own: set[str] = set()

    def make_own(self, key: str) -> None:
        """Let the node at a dotted key be set, deleted or merged into; the containers above it are there."""
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
        """Leave the base as it was."""
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
