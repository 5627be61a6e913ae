"""The configs of a sweep's jobs: equal to Hydra's, at a fraction of the time.

Hydra composes each job anew from its files. Jobs differ in values far more than in the files they choose, so here Hydra
composes once for each set of choices, giving a base. A job is a copy of its base on which Hydra's own functions set the
job's values; to inspect a job, they are set on the base itself temporarily.

The price: private functions of Hydra 1.3 and OmegaConf 2.3 are called, and `_put_in` repeats what Hydra does after it
has applied the overrides; files that change during a sweep are not read again; only one thread at a time.
"""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import split_key
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from gmm_pipeline.execution.quick_configs import is_known, quick
from gmm_pipeline.execution.temporary_overrides import TemporaryOverrides

BASES = 256
"""Most bases that are cached; each takes about 0.13 MB."""

FILLED_IN = ("hydra.overrides.task", "hydra.job.override_dirname")
"""What Hydra derives from the task's overrides."""


class _Job(NamedTuple):
    """The overrides of a job, sorted by their effect.

    Attributes:
        config_name: primary config.
        lines: all overrides as text, in order.
        choices: those that decide which files are read, or set keys of Hydra's own; they determine the base.
        values: those that are applied to the files, in order.
        task_overrides: the task's own overrides, including choices of files.
    """

    config_name: str | None
    lines: list[str]
    choices: tuple[str, ...]
    values: list[Override]
    task_overrides: list[Override]


class _ElsewhereError(Exception):
    """An override reaches its key through an interpolation, so the value it sets lies elsewhere."""


class SweepComposer(ConfigLoader):
    """Hydra's config loader for the jobs of one sweep.

    Args:
        loader: the loader that composed the sweep; used for everything except jobs.
    """

    def __init__(self, loader: ConfigLoader):
        self._loader = loader
        self._hydra = ConfigLoaderImpl(loader.get_search_path())
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._repositories: dict[tuple[str | None, str | None], IConfigRepository] = {}
        self._groups: dict[tuple[int, str], bool] = {}
        self._bases: dict[tuple[str | None, tuple[str, ...]], DictConfig | None] = {}
        self._in_use: set[int] = set()

    def compose(self, master_config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """The config of one job, owned by the caller; equal to `ConfigLoaderImpl.load_sweep_config`.

        Args:
            master_config: of the sweep.
            overrides: of the job, as the sweeper gives them, including those of the whole command.

        Raises:
            Exception: what Hydra raises for such a job: mostly a HydraException, a ValueError for some choices.
        """
        if not is_known():
            return self._loader.load_sweep_config(master_config, list(overrides))
        job = self._job(master_config, overrides)
        base = self._base(job)
        if base is None or id(base) in self._in_use:
            return self._by_hydra(master_config, job)
        cfg = copy.deepcopy(base)
        try:
            _put_in(cfg, job, lambda key: None)
        except _ElsewhereError:
            return self._by_hydra(master_config, job)
        OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
        return cfg

    @contextmanager
    def in_place(self, master_config: DictConfig, overrides: Sequence[str]) -> Iterator[DictConfig]:
        """The config of one job, for inspection: the same as by `compose`, without copying.

        It is valid only inside the `with` block and must not be changed. A caller that passes it to
        `HydraConfig.instance().set_config` must undo that, or `${hydra:...}` refers to the base afterwards.

        Args:
            master_config: of the sweep.
            overrides: of the job, as for `compose`.

        Raises:
            Exception: as `compose`.
        """
        job = self._job(master_config, overrides) if is_known() else None
        base = None if job is None else self._base(job)
        if job is None or base is None or id(base) in self._in_use:
            yield self.compose(master_config, overrides)
            return
        overridden = TemporaryOverrides(base)
        self._in_use.add(id(base))
        try:
            try:
                _put_in(base, job, overridden.make_own)
                cfg = base
                OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
            except _ElsewhereError:
                cfg = self._by_hydra(master_config, job)
            yield cfg
        finally:
            overridden.take_back()
            self._in_use.discard(id(base))

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The sweep's own config, for any job.

        Sweepers call this for each job before launching any, only for its exceptions: one job that cannot be composed
        would end the sweep before it began, and every job would be composed twice. The launcher calls `compose`
        instead, and such a job fails in a record of its own.

        Args:
            master_config: of the sweep.
            sweep_overrides: of the job; ignored.
        """
        return master_config

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Hydra's.

        Args:
            config_name: primary config.
            overrides: as text.
            run_mode: of one run or of a sweep.
            from_shell: whether the overrides went through a shell.
            validate_sweep_overrides: whether several values are refused in a single run.
        """
        return self._loader.load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)

    def get_search_path(self) -> ConfigSearchPath:
        """Hydra's."""
        return self._loader.get_search_path()

    def get_sources(self) -> list[ConfigSource]:
        """Hydra's."""
        return self._loader.get_sources()

    def list_groups(self, parent_name: str) -> list[str]:
        """Hydra's."""
        return self._loader.list_groups(parent_name)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """Hydra's.

        Args:
            group_name: folder of configs.
            results_filter: configs or groups.
            config_name: primary config.
            overrides: as text.
        """
        return self._loader.get_group_options(group_name, results_filter, config_name, overrides)

    def compute_defaults_list(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> Any:
        """Hydra's.

        Args:
            config_name: primary config.
            overrides: as text.
            run_mode: of one run or of a sweep.
        """
        return self._loader.compute_defaults_list(config_name, overrides, run_mode)

    def _job(self, master_config: DictConfig, overrides: Sequence[str]) -> _Job:
        config_name = master_config.hydra.job.config_name
        lines = [*master_config.hydra.overrides.hydra, *overrides]
        parsed = [self._parse(line) for line in lines]
        repository = self._repository(config_name, parsed)
        reads = [self._makes_base(override, repository) for override in parsed]
        return _Job(
            config_name=config_name,
            lines=lines,
            choices=tuple(line for line, read in zip(lines, reads, strict=True) if read),
            values=[override for override, read in zip(parsed, reads, strict=True) if not read],
            task_overrides=[override for override in parsed if not override.is_hydra_override()],
        )

    def _parse(self, line: str) -> Override:
        """One override; the parser takes milliseconds, and jobs share most of their overrides."""
        if line not in self._parsed:
            (self._parsed[line],) = self._parser.parse_overrides([line])
        return self._parsed[line]

    def _repository(self, config_name: str | None, parsed: Sequence[Override]) -> IConfigRepository:
        """The repository of config files, including folders of the user."""
        searchpath = next((line.input_line for line in parsed if line.get_key_element() == "hydra.searchpath"), None)
        key = (config_name, searchpath)
        if key not in self._repositories:
            overrides = [] if searchpath is None else [searchpath]
            _, self._repositories[key] = self._hydra._parse_overrides_and_create_caching_repo(config_name, overrides)
        return self._repositories[key]

    def _makes_base(self, override: Override, repository: IConfigRepository) -> bool:
        """Whether Hydra must compose for this override, by the criterion of its defaults list."""
        if override.is_hydra_override() or override.key_or_group == "hydra":
            return True
        if isinstance(override.value(), dict):
            return False
        key = (id(repository), override.key_or_group)
        if key not in self._groups:
            self._groups[key] = repository.group_exists(override.key_or_group)
        return self._groups[key]

    def _base(self, job: _Job) -> DictConfig | None:
        """The composition of the job's choices, or None if Hydra must compose the job itself."""
        if any(override.is_sweep_override() for override in job.values):
            return None
        key = (job.config_name, job.choices)
        base = self._bases.pop(key, None) if key in self._bases else self._composed(job)
        self._bases[key] = base
        if len(self._bases) > BASES:
            del self._bases[next(iter(self._bases))]  # the least recently used one
        return base

    def _composed(self, job: _Job) -> DictConfig | None:
        try:
            return quick(self._hydra.load_configuration(job.config_name, list(job.choices), RunMode.RUN))
        except Exception:
            # The choices may be invalid only without the values; otherwise Hydra reports the error of the whole job.
            return None

    def _by_hydra(self, master_config: DictConfig, job: _Job) -> DictConfig:
        cfg = self._hydra.load_configuration(job.config_name, job.lines, RunMode.RUN)
        OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
        return cfg


def _put_in(cfg: DictConfig, job: _Job, prepare: Callable[[str], object]) -> None:
    """Apply a job's values to its base, as `ConfigLoaderImpl._load_configuration_impl` goes on from there.

    Args:
        cfg: the base, or a copy of it.
        job: its overrides.
        prepare: called with each key before it is set; of a value, with the first part alone.
    """
    try:
        for override in job.values:
            _refuse_interpolations(cfg, override.key_or_group)
            prepare(split_key(override.key_or_group)[0])
            ConfigLoaderImpl._apply_overrides_to_config([override], cfg)
        for key in FILLED_IN:
            prepare(key)
        hydra = cfg.hydra
        hydra.overrides.task = [override.input_line for override in job.task_overrides]
        rule = hydra.job.config.override_dirname
        hydra.job.override_dirname = get_overrides_dirname(
            overrides=job.task_overrides, exclude_keys=rule.exclude_keys, item_sep=rule.item_sep, kv_sep=rule.kv_sep
        )
    except OmegaConfBaseException as error:
        raise ConfigCompositionException() from error


def _refuse_interpolations(cfg: DictConfig, key: str) -> None:
    """Raise if a container on the way to `key` is an interpolation: OmegaConf would set the key at its target."""
    node: Any = cfg
    for part in split_key(key)[:-1]:
        node = _child(node, part)
        if node is not None and node._is_interpolation():
            raise _ElsewhereError(key)


def _child(node: Any, part: str) -> Any:
    """The node that a part of a dotted key names, unresolved, or None."""
    content = node.__dict__["_content"] if isinstance(node, BaseContainer) else None
    if isinstance(node, DictConfig) and isinstance(content, dict):
        return node._get_node(part, validate_access=False)
    if isinstance(content, list) and re.fullmatch(r"-?\d+", part) and -len(content) <= int(part) < len(content):
        return content[int(part)]
    return None
