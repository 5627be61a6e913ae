"""What Hydra writes for a job (its three files, its log, its status), assembled from parts that jobs share.

Hydra's own `run_job` copies a job's config five times and writes all of it for each job, which takes longer than
writing the record. The jobs of a sweep differ in a few values: here each part of a config is converted to values and
text once, and a job is read once, when it is planned. The price: this repeats what `run_job` of Hydra 1.3 does, only
for jobs that use nothing of Hydra beyond `conf/` (no callbacks, no environment, the log of the record); `run_job` runs
the others. A test holds both to the same bytes.
"""

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import MISSING, DictConfig, OmegaConf

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.execution.quick_configs import as_yaml, is_known
from gmm_pipeline.stages.running import plain, resolved

MOST_PARTS = 4096
"""Most parts that are cached, of some hundred bytes each."""

OF_THE_JOB = (
    ("overrides", "task"),
    ("job", "override_dirname"),
    ("job", "id"),
    ("job", "num"),
    ("runtime", "output_dir"),
)
"""Values in Hydra's own part of the config that differ between the jobs of one base."""
AS_EXPECTED = {
    ("callbacks",): {},
    ("job", "chdir"): False,
    ("job", "env_set"): {},
    ("job", "name"): "fit",
    ("output_subdir",): ".hydra",
    ("sweep", "subdir"): "${hydra.job.num}",
    ("verbose",): False,
}
"""Values of Hydra's config for which this module can replace `run_job`."""


class Pieces(NamedTuple):
    """`hydra.yaml` without what differs between jobs."""

    texts: list[str]
    """Text before, between and after the places of the values."""
    places: list[tuple[str, str]]


class Asked(NamedTuple):
    """A job as read from its config."""

    content: dict[str, Any]
    """Resolved, without Hydra's own part; parts of it are shared between jobs and must not be changed."""
    texts: tuple[str, ...]
    """Of `config.yaml`, unresolved."""
    pieces: Pieces | None
    """None if Hydra's `run_job` must run the job."""
    overrides: list[str]
    """The task's overrides, resolved as those of a single run are."""
    typed: list[str]
    """The same as they were typed."""
    dirname: str
    """Hydra's name for a folder, made of them."""
    sweep_dir: str


class _Part(NamedTuple):
    node: Any
    """Referenced, so that no other node gets its id."""
    text: str
    value: Any
    varies: bool
    """Whether its value depends on other parts."""


class Reader:
    """Reads the configs of jobs, each part of them once.

    A node is identified by its id: a config composed in place has the nodes of its base, except those that the job
    sets.
    """

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._pieces: dict[int, tuple[Any, Pieces | None]] = {}

    def read(self, cfg: DictConfig) -> Asked:
        """Read a job from its config.

        Args:
            cfg: its config, with Hydra's part.

        Raises:
            OmegaConfBaseException: a value is missing, or an interpolation leads nowhere.
        """
        if not is_known():
            overrides = [str(override) for override in cfg.hydra.overrides.task]
            return Asked(resolved(cfg), (), None, overrides, overrides, "", str(cfg.hydra.sweep.dir))
        nodes = cfg.__dict__["_content"]
        parts = {key: self._part(cfg, key, node) for key, node in nodes.items() if key != "hydra"}
        task, job = cfg.hydra.overrides.task, cfg.hydra.job
        # A value taken from Hydra's part, such as the number of the job, exists only once Hydra runs the job.
        by_hydra = any("hydra" in part.text for part in parts.values() if part.varies)
        return Asked(
            content={key: plain(cfg[key]) if part.varies else part.value for key, part in parts.items()},
            texts=tuple(part.text for part in parts.values()),
            pieces=None if by_hydra else self._pieces_of(nodes["hydra"]),
            overrides=[str(override) for override in task],
            typed=[node._value() for node in task.__dict__["_content"]],
            dirname=job.__dict__["_content"]["override_dirname"]._value(),
            sweep_dir=str(cfg.hydra.sweep.dir),
        )

    def _part(self, cfg: DictConfig, key: str, node: Any) -> _Part:
        kept = self._parts.get(id(node))
        if kept is not None:
            return kept
        is_config = OmegaConf.is_config(node)
        unresolved = OmegaConf.to_container(node, enum_to_str=True) if is_config else plain(node._value())
        varies = any(mark in repr(unresolved) for mark in ("${", MISSING))
        part = _Part(node, as_yaml({key: unresolved}), None if varies else plain(cfg[key]), varies)
        if len(self._parts) >= MOST_PARTS:
            self._parts.clear()
        self._parts[id(node)] = part
        return part

    def _pieces_of(self, node: Any) -> Pieces | None:
        if id(node) not in self._pieces:
            if len(self._pieces) >= MOST_PARTS:
                self._pieces.clear()
            self._pieces[id(node)] = node, _pieces(OmegaConf.to_container(node, enum_to_str=True))
        return self._pieces[id(node)][1]


def _pieces(content: Any) -> Pieces | None:
    """The pieces of `hydra.yaml`; None if the job uses features of Hydra that are not repeated here."""
    expected = {**AS_EXPECTED, ("job_logging",): _job_logging()}
    if any(_at(content, path) != value for path, value in expected.items()):
        return None
    for number, (section, key) in enumerate(OF_THE_JOB):
        content[section][key] = f"place-{number}"
    found = re.split(r"^    \w+: place-(\d)\n", as_yaml({"hydra": content}), flags=re.MULTILINE)
    return Pieces(found[::2], [OF_THE_JOB[int(number)] for number in found[1::2]])


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = content.get(key)
    return content


@functools.cache
def _job_logging() -> dict[str, Any]:
    """The log of a record, as `conf/` has it."""
    return yaml.safe_load((config_directory() / "hydra" / "job_logging" / "record.yaml").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=MOST_PARTS)
def _line(section: str, key: str, value: str | int) -> str:
    """A value as a line of `hydra.yaml`."""
    return as_yaml({"hydra": {section: {key: value}}}).split("\n", 2)[2]


@functools.lru_cache(maxsize=MOST_PARTS)
def _entries(override: str) -> tuple[str, str]:
    """An override as a line of `hydra.yaml` and of `overrides.yaml`."""
    return as_yaml({"hydra": {"overrides": {"task": [override]}}}).split("\n", 3)[3], as_yaml([override])


def run(task: Callable[[], Any], asked: Asked, pieces: Pieces, number: int, record: Path) -> JobReturn:
    """Run a job in its folder, as `run_job` does.

    Args:
        task: the work; an exception is the job's failure.
        asked: of the job.
        pieces: of its `hydra.yaml`.
        number: of the job.
        record: its folder.
    """
    _write(asked, pieces, number, record)
    returned = JobReturn(overrides=asked.typed)
    with _logged(record / "fit.log"):
        try:
            returned.return_value = task()
            returned.status = JobStatus.COMPLETED
        except Exception as error:
            returned.return_value = error
            returned.status = JobStatus.FAILED
    return returned


def _write(asked: Asked, pieces: Pieces, number: int, record: Path) -> None:
    entries = [_entries(override) for override in asked.typed]
    listed = "".join(["    task:\n", *(entry for entry, _ in entries)])
    values = {
        ("overrides", "task"): listed if entries else "    task: []\n",
        ("job", "override_dirname"): _line("job", "override_dirname", asked.dirname),
        ("job", "id"): _line("job", "id", str(number)),
        ("job", "num"): _line("job", "num", number),
        ("runtime", "output_dir"): _line("runtime", "output_dir", str(record)),
    }
    first, *texts = pieces.texts
    files = {
        "config.yaml": "".join(asked.texts),
        "hydra.yaml": first + "".join(values[place] + text for place, text in zip(pieces.places, texts, strict=True)),
        "overrides.yaml": "".join(entry for _, entry in entries) or "[]\n",
    }
    folder = record / ".hydra"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Send the log of this process to a file, as `record.yaml` does, and restore it afterwards."""
    said, root = _job_logging(), logging.getLogger()
    for name, logger in said["loggers"].items():
        logging.getLogger(name).setLevel(logger["level"])
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter(said["formatters"]["line"]["format"]))
    before, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(said["root"]["level"])
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        handler.close()
