"""Runs commands in a process of their own and prints which keys of their configs nothing reads.

A read is one by the program, by name: of a config, of the containers that it becomes, or by an interpolation. What only
checks a key, composes or serialises a config reads nothing. A plug-in takes all keys of its node, or is refused.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import omegaconf
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.base import Container

import gmm_pipeline
from gmm_pipeline import __main__ as program
from gmm_pipeline.configuration import command_help, config_files
from gmm_pipeline.stages import running, ui

PACKAGE, OMEGACONF = (str(Path(str(module.__file__)).parent) for module in (gmm_pipeline, omegaconf))
COMPOSES = ("configuration", "composition.py", "quick_configs.py", "lending.py", "job_files.py")
READS: set[str] = set()
KEYS: set[str] = set()


def counts() -> bool:
    """Whether the program reads, rather than Hydra, and does not only check or compose."""
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename.startswith((__file__, OMEGACONF)):
        frame = frame.f_back
    reader, names = frame.f_code, []
    while frame is not None:
        names += [frame.f_code.co_name] if frame.f_code.co_filename.startswith(PACKAGE) else []
        frame = frame.f_back
    if not reader.co_filename.startswith(PACKAGE) or any(re.match("_*check|resolved$", name) for name in names):
        return False
    parts = Path(reader.co_filename).relative_to(PACKAGE).parts
    return reader.co_name == "build_plugin" or not {*parts} & {*COMPOSES}


class Read(dict):
    """A container that a config became."""

    within = ""

    def _note(self, key: object) -> None:
        if counts():
            READS.add(f"{self.within}{key}")

    def __getitem__(self, key: Any) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def items(self) -> Any:
        if self.within:  # who goes through a whole config copies it
            for key in list(super().keys()):
                self._note(key)
        return super().items()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(super().keys()))  # so that ** asks for each key, too


def watched(node: Any, within: str) -> Any:
    if not isinstance(node, dict):
        return node
    read = Read({key: watched(value, f"{within}{key}.") for key, value in node.items()})
    read.within = within
    return read


def plain(node: Any) -> Any:
    return {key: plain(value) for key, value in node.items()} if isinstance(node, dict) else node


def leaves(node: Any, within: str = "") -> Iterator[str]:
    if isinstance(node, dict) and "_target_" not in node:
        for key, value in node.items():
            yield from leaves(value, f"{within}.{key}" if within else str(key))
    else:
        yield within


def watch() -> None:
    own_get, own_select, own_resolved = DictConfig._get_impl, OmegaConf.select, running.resolved
    own_resolve, own_file, own_run = Container._resolve_node_interpolation, config_files.file_in, running.run_stage
    own_init = DictConfig.__init__

    def begin(self: Any, content: Any, *args: Any, **kwargs: Any) -> None:
        own_init(self, plain(content), *args, **kwargs)

    def get(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        if counts():
            READS.add(self._get_full_key(key))
        return own_get(self, key, *args, **kwargs)

    def select(cfg: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        if counts():
            READS.add(cfg._get_full_key(key))
        return own_select(cfg, key, *args, **kwargs)

    def resolved(cfg: Any) -> Any:
        within = cfg._get_full_key(None)
        return watched(plain(own_resolved(cfg)), f"{within}." if within else "")

    def resolve(self: Any, *args: Any, **kwargs: Any) -> Any:
        node = own_resolve(self, *args, **kwargs)
        READS.add(node._get_full_key(None))
        return node

    def file_in(words: Any) -> Any:
        READS.add("config")
        return own_file(words)

    def run_stage(run: Any, cfg: Any, **kwargs: Any) -> Any:
        KEYS.update(leaves(OmegaConf.to_container(cfg)))
        return own_run(run, cfg, **kwargs)

    DictConfig.__init__, DictConfig._get_impl = begin, get
    OmegaConf.select, running.resolved = select, resolved
    Container._resolve_node_interpolation = resolve
    config_files.file_in, running.run_stage = file_in, run_stage
    for dumper in (yaml.SafeDumper, getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
        dumper.add_representer(Read, lambda to, read: to.represent_dict(dict(read.items())))


def unread(command: str, *lines: list[str]) -> list[str]:
    """Keys that none of some command lines reads."""
    READS.clear()
    KEYS.clear()
    for words in lines:
        sys.argv = [program.__file__, command, *words]
        try:
            program.main()
        except SystemExit as ended:
            if ended.code:
                raise
    if command == "rerun":  # which is a fit, with keys of its own
        KEYS.clear()
        KEYS.update(leaves(OmegaConf.to_container(command_help.composed("rerun", ["+zzz=1"]))))
    return sorted(KEYS - READS)


if __name__ == "__main__":
    watch()

    class Interrupted:
        def wait(self) -> None:
            raise KeyboardInterrupt

    import contextlib

    ui._served = lambda *_: contextlib.nullcontext(Interrupted())
    ui._await_answer, ui._ask = (lambda *_: None), (lambda *_: None)
    found = {command: unread(command, *lines) for command, *lines in json.loads(sys.argv[1])}
    Path("unread.json").write_text(json.dumps(found))
