"""From a config to a job that can be fitted: everything is read and checked here, before any work.

Many runs of a sweep ask for the same data and the same plug-ins; both are kept for the next run, so that loading one
more costs milliseconds.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.analysis.cross_validation import folds_of
from gmm_pipeline.analysis.estimates import CRITERIA, LIKELIHOOD_RATIO, Asked, Job
from gmm_pipeline.configuration import checks, config
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.inference import batching
from gmm_pipeline.inference.jobs import FirstMixtures, FitJob, FitPlan, Moves, SearchPlan, check
from gmm_pipeline.inference.objective import use_fused
from gmm_pipeline.inference.scaling import IDENTITY, Scaling, scaling_of, to_fit_units
from gmm_pipeline.model.mixture import key_of
from gmm_pipeline.records.code_state import source_digest
from gmm_pipeline.records.datasets import LARGEST_SEED, Dataset, check_can_be_fitted
from gmm_pipeline.records.provenance import code_digest, memory
from gmm_pipeline.stages.running import resolved, shown

OBJECTIVES = ("bic", "aic", "icl", "loss", "log_likelihood")
"""Metrics that a run can be judged by."""
AUTO = "auto"
"""Stands for a number of components that is to be chosen."""
BYTES_A_DRAW = 64
"""What drawing takes of memory: the draws in two precisions, their components, and copies."""
WITHOUT_EFFECT = (*config.COMMANDS_OWN, *config.PICTURES, "objective", "timings", "csv_rows")
"""Keys that do not bear on what is fitted."""


SETTINGS = (
    "steps",
    "history_every",
    "restarts",
    "scale_floor",
    "fewest_data",
    "tolerance",
    "gradient_tolerance",
)
"""Numbers of a fit that pass from the config as they are."""


SEARCH_SCHEMAS = {
    "search": config.SearchConfig,
    "search.moves": config.SearchMovesConfig,
    "search.starts": config.SearchStartsConfig,
}
"""Keys whose keys are arguments of what they make."""


class _Ready(NamedTuple):
    """All that a job is made of, but for its seed."""

    dataset: Dataset
    scaling: Scaling
    standardised: np.ndarray
    fit: Callable[..., FitJob]
    """(key=) -> the fit."""
    asked: Asked


def load(cfg: DictConfig) -> Job:
    """Read the data and build everything the fit needs.

    Raises:
        InputError: where a key or the data cannot be used.
    """
    return load_resolved(resolved(cfg))


def load_resolved(content: Mapping[str, Any]) -> Job:
    """The same of a config that is resolved: plain containers.

    Raises:
        InputError: where a key or the data cannot be used.
    """
    configure_jax(content)
    config.check_jax()
    checks.check_number("seed", content["seed"], 0, LARGEST_SEED)
    shared = json.dumps({key: value for key, value in content.items() if key != "seed"}, sort_keys=True)
    ready = _ready(shared, config.stamp_of_data(content["data"]))
    job = ready.fit(key=key_of(content["seed"]))
    check(job)
    _check_memory("steps and history_every", float(batching.memory_of(batching.program_of(job))))
    return Job(ready.dataset, ready.scaling, ready.standardised, job, ready.asked)


def configure_jax(content: Mapping[str, Any]) -> None:
    """Set what JAX keeps as global state as a resolved config, or the part of it that bears on JAX, has it."""
    config.configure_jax(
        threefry_partitionable=content["threefry_partitionable"],
        precision=config.Precision[content["precision"]],
        compilation_cache=content["compilation_cache"],
    )


@functools.lru_cache(maxsize=8)
def _ready(content: str, stamp: tuple[int, int] | None) -> _Ready:
    """What the runs of a sweep that differ in their seeds share.

    Args:
        content: a resolved config as JSON, without the seed.
        stamp: of the file with the data, so that a file that has changed is read anew.
    """
    import jax

    cfg = DictConfig(json.loads(content))
    _check(cfg)
    dataset = config.build_dataset(cfg, stamp)
    in_file = "" if dataset.column is None else f", column {dataset.column!r}"
    check_can_be_fitted(dataset, f"{shown(Path(dataset.source))}{in_file}" if in_file else dataset.name)
    prepared = _prepared(_ByIdentity(dataset), cfg.standardize, cfg.precision)
    asked = _asked(cfg, prepared.distinct)
    if max(asked.numbers) > prepared.distinct:
        raise InputError(
            "n_components",
            expected=f"at most {prepared.distinct}, the number of distinct values in {dataset.name}",
            came=str(cfg.n_components),
            remedy="A component needs data of its own.",
        )
    if asked.folds:
        folds_of(dataset.counts, asked.folds, jax.random.PRNGKey(0))  # refuses numbers that are too small or too large
    plan = FitPlan(
        n_components=max(asked.numbers),
        init=config.build_plugin(cfg, "init"),
        log_prior=config.build_plugin(cfg, "prior"),
        optimizer=config.build_plugin(cfg, "optimizer"),
        schedule=config.build_plugin(cfg, "schedule"),
        average_loss=cfg.average_loss,
        fused=cfg.fused and use_fused(max(asked.numbers)),
        as_written=not cfg.fused,
    )
    fit = functools.partial(
        FitJob,
        search=_search_plan(cfg),
        data=prepared.data,
        sample_weights=prepared.sample_weights,
        plan=plan,
        equal_scales=asked.equal_scales[-1],
        **{name: cfg[name] for name in SETTINGS},
    )
    return _Ready(dataset, prepared.scaling, prepared.standardised, fit, asked)


def _search_plan(cfg: DictConfig) -> SearchPlan | None:
    """How thoroughly the best optimum is searched for; None for not at all."""
    numbers = resolved(cfg.search)
    if not numbers["rounds"]:
        return None
    nested = {"moves": Moves(**numbers["moves"]), "starts": FirstMixtures(**numbers["starts"])}
    return SearchPlan(**{**numbers, **nested})


def _asked(cfg: DictConfig, distinct: int) -> Asked:
    """What a run asks for besides one fit; more components than distinct data are not tried."""
    equal = config.Scales.equal.name
    numbers, kinds = (cfg.n_components,), (str(cfg.scales),)
    if cfg.n_components == AUTO:
        numbers = tuple(
            range(cfg.selection.smallest, min(cfg.selection.largest, max(distinct, cfg.selection.smallest)) + 1)
        )
        kinds = tuple(cfg.selection.scales) if cfg.criterion != LIKELIHOOD_RATIO else kinds
    return Asked(
        numbers=numbers,
        # Equal scales first: one component has both kinds, and is told as the simpler one.
        equal_scales=tuple(sorted({kind == equal for kind in kinds}, reverse=True)),
        criterion=cfg.criterion,
        folds=cfg.folds,
        bootstrap=cfg.bootstrap,
        likelihood_ratio=cfg.likelihood_ratio,
        level=cfg.level,
    )


def _check(cfg: DictConfig) -> None:
    known = list(config.FitConfig.__dataclass_fields__)
    for name in map(str, cfg):
        # `+` puts any key there, which may be for interpolations of one's own; what is nearly a key is a slip.
        if name not in known and name != "hydra" and nearest(name, known):
            raise checks.unknown_key(name, "", name, known)
    _check_components(cfg)
    checks.check_range(cfg, "steps", 1, checks.MOST_STEPS)
    checks.check_range(cfg, "history_every", 1)
    checks.check_range(cfg, "restarts", 1, checks.MOST_RESTARTS)
    _check_search(cfg)
    for name, most in (("scale_floor", 1.0), ("fewest_data", None), ("tolerance", None), ("gradient_tolerance", None)):
        checks.check_real(cfg, name, 0.0, most)
    for name in ("folds", "bootstrap", "likelihood_ratio"):
        checks.check_range(cfg, name, 0, checks.MOST_RESTARTS)
    checks.check_real(cfg, "level", 0.5, 0.9999)
    checks.check_choice(cfg, "objective", OBJECTIVES)
    rate = cfg.optimizer.get("learning_rate") if isinstance(cfg.optimizer, DictConfig) else None
    if isinstance(rate, int | float) and not 0.0 < rate < math.inf:
        raise InputError(
            "optimizer.learning_rate",
            expected="a positive number",
            came=repr(rate),
            remedy="Leave optimizer.learning_rate out for the usual one.",
        )
    checks.check_pictures(cfg, "figures")
    checks.check_pictures(cfg, "animation")
    checks.check_range(cfg, "tracking.series_points", 0)
    n_draws = cfg.data.get("n_draws") if isinstance(cfg.data, DictConfig) else None
    if isinstance(n_draws, int | float):
        _check_memory("data.n_draws", float(n_draws) * BYTES_A_DRAW)


def _check_search(cfg: DictConfig) -> None:
    for place, schema in SEARCH_SCHEMAS.items():
        known = list(schema.__dataclass_fields__)
        for name in OmegaConf.select(cfg, place):
            if name not in known:  # `+` puts any key there
                raise checks.unknown_key(f"{place}.{name}", place, str(name), known)
    for name, least in (
        ("points", 16),
        ("kept", 1),
        ("passes", 1),
        ("rounds", 0),
        ("screening", 1),
        ("finalists", 1),
        ("places", 1),
    ):
        checks.check_range(cfg, f"search.{name}", least)
    checks.check_range(cfg, "search.mixtures", cfg.search.kept + 1)
    checks.check_real(cfg, "search.patience", 1.0, None)
    checks.check_real(cfg, "search.margin", 0.0, None)
    checks.check_real(cfg, "search.narrowest", 1e-6, 1.0)
    for name in cfg.search.moves:
        checks.check_real(cfg, f"search.moves.{name}", 0.0, None)
    if not sum(cfg.search.moves.values()):
        raise InputError(
            "search.moves", expected="shares, one of them positive", came="none", remedy="Leave them out for the usual."
        )


def _check_components(cfg: DictConfig) -> None:
    """Refuse numbers of components that are none, and criteria that lack what they need."""
    checks.check_choice(cfg, "criterion", CRITERIA)
    if cfg.n_components != AUTO:
        if type(cfg.n_components) is not int:
            raise InputError(
                "n_components",
                expected="a whole number, 1 or more, or auto",
                came=repr(cfg.n_components),
                remedy="For example n_components=2, or n_components=auto criterion=bic.",
            )
        checks.check_range(cfg, "n_components", 1)
        return
    checks.check_range(cfg, "selection.smallest", 1)
    checks.check_range(cfg, "selection.largest", cfg.selection.smallest)
    for number, kind in enumerate(cfg.selection.scales):
        if kind not in config.Scales.__members__:
            checks.check_choice(cfg, f"selection.scales[{number}]", list(config.Scales.__members__))
    if not cfg.selection.scales:
        raise InputError(
            "selection.scales",
            expected="free, equal or both",
            came="none",
            remedy="For example selection.scales=[free].",
        )
    if cfg.criterion == "held_out" and not cfg.folds:
        raise InputError(
            "folds", expected="2 or more where criterion=held_out", came="0", remedy="For example folds=10."
        )
    if cfg.criterion == LIKELIHOOD_RATIO and not cfg.likelihood_ratio:
        raise InputError(
            "likelihood_ratio",
            expected="a number of replicates where criterion=likelihood_ratio",
            came="0",
            remedy="For example likelihood_ratio=99.",
        )


def _check_memory(where: str, wanted: float) -> None:
    if wanted > memory():
        raise InputError(
            where,
            expected=f"what fits into the memory of this machine, {memory() / 1e9:.1f} GB",
            came=f"arrays of about {wanted / 1e9:.3g} GB",
            remedy="Choose fewer data, components or steps, or a larger history_every.",
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _ByIdentity:
    """A dataset as a key: datasets that are kept are the same object."""

    dataset: Dataset

    def __hash__(self) -> int:
        return id(self.dataset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.dataset is other.dataset


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """Data as a fit sees them."""

    standardised: np.ndarray
    """In float64."""
    data: np.ndarray
    """In the precision of the fit."""
    sample_weights: np.ndarray
    scaling: Scaling
    distinct: int
    """How many different values count for something."""


@functools.lru_cache(maxsize=8)
def _prepared(by_identity: _ByIdentity, standardize: bool, precision: str) -> _Prepared:
    dataset, dtype = by_identity.dataset, np.dtype(precision)
    scaling = scaling_of(dataset.data, dataset.counts) if standardize else IDENTITY
    with np.errstate(over="ignore"):
        standardised = to_fit_units(dataset.data, scaling)
        data = standardised.astype(dtype)
    if not np.isfinite(data).all() or np.ptp(data) == 0:
        raise InputError(
            "standardize",
            expected=f"data that {dtype} can tell apart",
            came=f"{dataset.name} from {dataset.data.min():g} to {dataset.data.max():g}, as they are",
            remedy="Use standardize=true, or precision=float64.",
        )
    counts = dataset.counts.astype(dtype)  # where the least of weights may become 0
    return _Prepared(standardised, data, counts, scaling, len(np.unique(dataset.data[counts > 0])))


def deciding(content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides what is fitted."""
    return {key: value for key, value in content.items() if key not in WITHOUT_EFFECT}


def config_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the part of a resolved config that decides what is fitted."""
    return _sha(json.dumps(deciding(content), sort_keys=True))


def run_digest(content: Mapping[str, Any], job: Job) -> str:
    """SHA-256 of all that decides a run's result: config, data, code, libraries and device."""
    data = digest_of_data(job.dataset)
    return _sha("\n".join([config_digest(content), data, code_digest(*_plugins(job))]))


def digests(content: Mapping[str, Any], job: Job) -> dict[str, str]:
    """SHA-256 of what decides a run's result, each by itself: config, data, source code."""
    return {
        "config": config_digest(content),
        "data": digest_of_data(job.dataset),
        "code": source_digest(*_plugins(job)),
    }


def _plugins(job: Job) -> list[Callable[..., Any]]:
    plan = job.fit.plan
    return [plugin.function for plugin in (plan.init, plan.log_prior, plan.optimizer, plan.schedule)]


def digest_of_data(dataset: Dataset) -> str:
    """The dataset's own digest, found out once for each that is kept."""
    return _digest_of_data(_ByIdentity(dataset))


@functools.lru_cache(maxsize=8)
def _digest_of_data(by_identity: _ByIdentity) -> str:
    return by_identity.dataset.digest


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_sweep_name(name: str) -> None:
    """Refuse a name that is no name of a folder.

    Raises:
        InputError: which name.
    """
    if Path(name).name != name or name in ("", ".", "..") or not name.isprintable():
        raise InputError(
            "sweep", expected="a name without slashes", came=repr(name), remedy="For example sweep=my_study."
        )
