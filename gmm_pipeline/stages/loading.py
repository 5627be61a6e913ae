"""From a config to a job that can be fitted: everything is read and checked here, before any work.

Many runs of a sweep use the same data and the same plug-ins; both are cached, so that loading one more run costs
milliseconds.
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
from jaxtyping import Float
from omegaconf import DictConfig

from gmm_pipeline.analysis.cross_validation import folds_of
from gmm_pipeline.analysis.estimates import REPLICATES_AT_ONCE, Asked, Job
from gmm_pipeline.analysis.resolution import is_crowded, rounding_step
from gmm_pipeline.configuration import config, schemas, targets
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import batching
from gmm_pipeline.inference.families.noisy import with_noise
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.families.normals import normals
from gmm_pipeline.inference.jobs import FirstMixtures, FitJob, FitPlan, Moves, SearchPlan, check
from gmm_pipeline.inference.large import is_condensed
from gmm_pipeline.inference.scaling import AnyData, InUnits, Units, identity_of, linear_scaling_of, scaling_of
from gmm_pipeline.model.covariances import FACTOR, NAMES, Kind, kind_of, model_of, most_factors, of_one_component
from gmm_pipeline.model.incomplete import distinct_rows
from gmm_pipeline.model.large_data import MANY, ByIdentity, in_order, slices
from gmm_pipeline.model.mixture import key_of
from gmm_pipeline.model.noise import NONE
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.model.vocabulary import LIKELIHOOD_RATIO
from gmm_pipeline.records.code_state import source_digest
from gmm_pipeline.records.datasets import Dataset, check_can_be_fitted, why_singular
from gmm_pipeline.records.provenance import code_digest
from gmm_pipeline.stages.factor_checks import check_factors
from gmm_pipeline.stages.fit_checks import AUTO, check_config, check_memory, check_prior
from gmm_pipeline.stages.noise_checks import check_noise, volume_of
from gmm_pipeline.stages.running import resolved, shown

FULL = "full"
BYTES_DRAWN = 32
"""Of a number that a test draws: itself, and what it is drawn by."""
WITHOUT_EFFECT = (*schemas.COMMANDS_OWN, *schemas.PICTURES, "objective", "timings", "csv_rows")
"""Keys that do not affect what is fitted."""


ENOUGH = 2**16
"""Data among which distinct ones are counted; if half of these are, there are more than components."""

SETTINGS = (
    "steps",
    "history_every",
    "restarts",
    "scale_floor",
    "scale_floor_of_many",
    "fewest_data",
    "tolerance",
    "gradient_tolerance",
    "halves_apart",
)
"""Numbers that a fit takes unchanged from the config."""


class _Ready(NamedTuple):
    """Everything that a job is made of, except its seed."""

    dataset: Dataset
    units: Mapping[Kind | None, Units]
    fit: Callable[..., FitJob]
    """(key=) -> the fit."""
    asked: Asked


def load(cfg: DictConfig) -> Job:
    """Read the data and build everything the fit needs.

    Raises:
        InputError: a key or the data cannot be used.
    """
    return load_resolved(resolved(cfg))


def load_resolved(content: Mapping[str, Any]) -> Job:
    """Like `load`, for a resolved config of plain containers.

    Raises:
        InputError: a key or the data cannot be used.
    """
    configure_jax(content)
    config.check_jax()
    shared = json.dumps({key: value for key, value in content.items() if key != "seed"}, sort_keys=True)
    ready = _ready(shared, targets.stamp_of_data(content["data"]))
    job = ready.fit(key=key_of(content["seed"]))
    check(job)
    trained = job
    if job.search is not None and is_condensed(job):
        trained = job._replace(data=job.data[: job.search.condensed_to])
    check_memory("steps and history_every", float(batching.memory_of(batching.program_of(trained))))
    n, asked = len(job.data), ready.asked
    fewer = "Use fewer replicates or observations."
    check_memory("bootstrap", float(min(asked.bootstrap, REPLICATES_AT_ONCE)) * n * job.data.dtype.itemsize, fewer)
    check_memory("likelihood_ratio", float(asked.likelihood_ratio) * math.prod(job.data.shape) * BYTES_DRAWN, fewer)
    return Job(ready.dataset, ready.units, job, ready.asked)


def configure_jax(content: Mapping[str, Any]) -> None:
    """Set JAX's global state from a resolved config, of which it reads only the keys for JAX."""
    config.configure_jax(
        threefry_partitionable=content["threefry_partitionable"],
        precision=schemas.Precision[content["precision"]],
        compilation_cache=content["compilation_cache"],
    )


@functools.lru_cache(maxsize=8)
def _ready(content: str, stamp: tuple[int, int] | None) -> _Ready:
    """What runs share that differ only in their seeds.

    Args:
        content: a resolved config as JSON, without the seed.
        stamp: of the file with the data, so that a changed file is read again.
    """
    import jax

    cfg = DictConfig(json.loads(content))
    check_config(cfg)
    dataset = targets.build_dataset(cfg, stamp)
    of_column = "" if dataset.column is None else f", column {dataset.column!r}"
    is_file = dataset.source_type == "file" and dataset.columns
    check_can_be_fitted(dataset, f"{shown(Path(dataset.source))}{of_column}" if is_file else dataset.name)
    n_columns = dataset.data.shape[1] if dataset.data.ndim > 1 else 0
    models = _models(cfg) if n_columns else ()
    _check_shared(cfg, n_columns, dataset.name)
    if models and (why := why_singular(dataset)):
        has_factors = most_factors(n_columns) > 0 and not dataset.n_incomplete
        models = _without_full(models, why, cfg.covariance, has_factors=has_factors)
    own = kind_of(models[-1]) if models else None
    factors = cfg.factors if models and models[-1] == FACTOR else 0
    kinds = tuple(dict.fromkeys(map(kind_of, (*models, *map(of_one_component, models))))) or (None,)
    log_prior = check_prior(targets.build_plugin(cfg, "prior"), n_columns)
    if cfg.noise != NONE:
        check_noise(cfg, log_prior, dataset)
    mixes = not traits(log_prior.function).of_columns
    prepared = _prepared(ByIdentity(dataset), cfg.standardize, cfg.precision, kinds, cfg.noise, mixes)
    asked = _asked(cfg, prepared.distinct, models)
    if max(asked.numbers) > prepared.distinct:
        raise InputError(
            "n_components",
            expected=f"at most {prepared.distinct}, the number of distinct values in {dataset.name}",
            came=str(cfg.n_components),
            remedy="A component needs data of its own.",
        )
    if asked.folds:
        folds_of(dataset.counts, asked.folds, jax.random.PRNGKey(0))  # refuses numbers that are too small or too large
    check_factors(cfg, log_prior, dataset, models)
    family = NORMAL if own is None else normals(n_columns, own, incomplete=dataset.n_incomplete > 0, factors=factors)
    plan = FitPlan(
        n_components=max(asked.numbers),
        init=targets.build_plugin(cfg, "init"),
        log_prior=log_prior,
        optimizer=targets.build_plugin(cfg, "optimizer"),
        schedule=targets.build_plugin(cfg, "schedule"),
        average_loss=cfg.average_loss,
        as_written=not cfg.fused,
        minibatch=cfg.minibatch if cfg.minibatch < len(dataset.data) else 0,
    ).of_family(family if cfg.noise == NONE else with_noise(family), max(asked.numbers))
    fit = functools.partial(
        FitJob,
        search=_search_plan(cfg),
        data=prepared.units[own].data,
        covariance=models[-1] if models else "",
        factors=factors,
        noise=prepared.units[own].log_noise,
        rounding=prepared.units[own].rounding,
        sample_weights=prepared.sample_weights,
        plan=plan,
        equal_scales=asked.equal_scales[-1],
        **{name: cfg[name] for name in SETTINGS},
    )
    return _Ready(dataset, prepared.units, fit, asked)


def _search_plan(cfg: DictConfig) -> SearchPlan | None:
    """How thoroughly the best optimum is searched for; None for no search."""
    numbers = resolved(cfg.search)
    if not numbers["rounds"]:
        return None
    nested = {"moves": Moves(**numbers["moves"]), "starts": FirstMixtures(**numbers["starts"])}
    return SearchPlan(**{**numbers, **nested})


def _without_full(models: tuple[str, ...], why: str, asked: str, *, has_factors: bool) -> tuple[str, ...]:
    """The models without orientations, which singular data determine too."""
    left = tuple(model for model in models if kind_of(model) in (Kind.SPHERICAL, Kind.DIAGONAL, Kind.FACTOR))
    if not left:
        raise InputError(
            "covariance",
            expected=f"a diagonal or spherical model{', or one of factors' if has_factors else ''}, since {why}",
            came=repr(asked),
            remedy=f"Use covariance=diagonal{f' or covariance={FACTOR}' if has_factors else ''}, or leave columns out "
            "with data.columns.",
        )
    return left


def _check_shared(cfg: DictConfig, n_columns: int, name: str) -> None:
    """Refuse a key of one column for several, and the other way round."""
    if n_columns and cfg.scales == schemas.Scales.equal.name:
        raise InputError(
            "scales",
            expected=f"free where data have several columns ({name} has {n_columns})",
            came="equal",
            remedy="Use covariance=tied (EEE), or covariance=EII for spheres of one size.",
        )
    if n_columns and cfg.criterion == LIKELIHOOD_RATIO and len(_models(cfg)) > 1:
        raise InputError(
            "covariance",
            expected=f"one covariance model where criterion={LIKELIHOOD_RATIO}, which compares numbers of components",
            came=AUTO,
            remedy="For example covariance=full, or criterion=bic.",
        )
    if not n_columns and cfg.covariance not in (FULL, AUTO):
        raise InputError(
            "covariance",
            expected=f"{FULL} or {AUTO} where data have one column, as {name} has",
            came=repr(cfg.covariance),
            remedy="Use scales=free or scales=equal.",
        )


def _models(cfg: DictConfig) -> tuple[str, ...]:
    """Covariance models that are compared, or the one that is fitted."""
    if cfg.covariance != AUTO:
        return (model_of(cfg.covariance),)
    listed = enumerate(cfg.selection.covariances)
    names = {model_of(name, f"selection.covariances[{number}]") for number, name in listed}
    return tuple(sorted(names, key=NAMES.index))


def _asked(cfg: DictConfig, distinct: int, models: tuple[str, ...]) -> Asked:
    """What a run asks for besides one fit; more components than distinct values are not tried."""
    equal = schemas.Scales.equal.name
    numbers, kinds = (cfg.n_components,), (str(cfg.scales),)
    if cfg.n_components == AUTO:
        numbers = tuple(
            range(cfg.selection.smallest, min(cfg.selection.largest, max(distinct, cfg.selection.smallest)) + 1)
        )
        kinds = tuple(cfg.selection.scales) if cfg.criterion != LIKELIHOOD_RATIO else kinds
    return Asked(
        numbers=numbers,
        # Equal scales first: one component has both kinds, and is reported as the simpler one.
        equal_scales=tuple(sorted({kind == equal for kind in kinds}, reverse=True)),
        covariances=models,
        factors=cfg.factors,
        criterion=cfg.criterion,
        folds=cfg.folds,
        bootstrap=cfg.bootstrap,
        likelihood_ratio=cfg.likelihood_ratio,
        level=cfg.level,
        noise=cfg.noise,
    )


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """Data as fits take them."""

    units: Mapping[Kind | None, Units]
    sample_weights: np.ndarray
    distinct: int
    """Number of distinct values with a positive weight."""


@functools.lru_cache(maxsize=8)
def _prepared(
    by_identity: ByIdentity[Dataset],
    standardize: bool,
    precision: str,
    kinds: tuple[Kind | None, ...],
    noise: str,
    mixes: bool,
) -> _Prepared:
    dataset = by_identity.value
    own = "float64" if dataset.data.ndim > 1 or is_crowded(dataset.data) else "float32"
    dtype = np.dtype(own if precision == schemas.Precision.auto.name else precision)
    volume = None if noise == NONE else volume_of(dataset, noise)
    units = {kind: _units(dataset, standardize, dtype, kind, volume, mixes=mixes) for kind in kinds}
    if dataset.sample_weights is None and len(dataset.data) > MANY:
        return _Prepared(units, np.broadcast_to(dtype.type(1.0), len(dataset.data)), _distinct(dataset.data, None))
    counts = dataset.counts.astype(dtype)  # in which the smallest weights may become 0
    for array in (counts, *(one.data for one in units.values())):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False  # so that what starts need of them is computed once
    return _Prepared(units, counts, _distinct(dataset.data, counts > 0))


def _distinct(data: np.ndarray, counted: np.ndarray | None) -> int:
    """Number of distinct data that count; of many, at least this number, and more than any mixture has components."""

    def among(here: slice) -> np.ndarray:
        some = np.asarray(data[here], np.float64)
        return distinct_rows(some if counted is None else some[counted[here]])[0]

    found = among(slice(0, ENOUGH))
    if len(found) > ENOUGH // 2:
        return len(found)
    for first in range(ENOUGH, len(data), MANY):
        found = distinct_rows(np.concatenate([found, among(slice(first, first + MANY))]))[0]
        if len(found) > ENOUGH // 2:
            break
    return len(found)


def _units(
    dataset: Dataset, standardize: bool, dtype: np.dtype, kind: Kind | None, volume: float | None, *, mixes: bool
) -> Units:
    if not standardize:
        scaling = identity_of(0 if kind is None else dataset.data.shape[1])
    elif kind is None:
        scaling = scaling_of(dataset.data, dataset.counts)
    else:
        scaling = linear_scaling_of(dataset.data, dataset.counts, kind, mixes=mixes)
    many = InUnits(dataset.data, scaling, dtype)
    data = many[:] if len(many) <= MANY else many
    if not _are_distinguished(data, dataset.data):
        raise InputError(
            "standardize",
            expected=f"data that {dtype} can distinguish",
            came=f"{dataset.name} from {np.nanmin(dataset.data):g} to {np.nanmax(dataset.data):g}, as they are",
            remedy="Use standardize=true, or precision=float64.",
        )
    log_noise = None if volume is None else scaling.log_volume - volume
    steps = None if kind is None else [_step(column, dataset) for column in dataset.data.T]
    rounding = np.linalg.solve(scaling.spread, np.diag(steps) / math.sqrt(12.0)) if steps and any(steps) else None
    return Units(scaling, dataset.data, data, log_noise, rounding)


def _step(column: Float[np.ndarray, " n"], dataset: Dataset) -> float:
    """The step to which a column was rounded; 0 for none."""
    return rounding_step(column[~np.isnan(column)] if dataset.n_incomplete else column) or 0.0


def _are_distinguished(data: AnyData, of_user: np.ndarray) -> bool:
    """Whether data are finite in the units and the precision of a fit, and not all the same in any column."""

    def of_block(here: slice) -> tuple[bool, Any, Any]:
        some = np.asarray(data[here])
        lost = ~np.isfinite(some)
        overflow = bool(lost.any()) and bool((lost & ~np.isnan(of_user[here])).any())
        return overflow, np.fmin.reduce(some, axis=0), np.fmax.reduce(some, axis=0)

    overflows, least, greatest = zip(*in_order(of_block, slices(len(data))), strict=True)
    return not any(overflows) and bool((np.fmin.reduce(least) < np.fmax.reduce(greatest)).all())


def deciding(content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides what is fitted."""
    return {key: value for key, value in content.items() if key not in WITHOUT_EFFECT}


def config_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the part of a resolved config that decides what is fitted."""
    return _sha(json.dumps(deciding(content), sort_keys=True))


def run_digest(content: Mapping[str, Any], job: Job) -> str:
    """SHA-256 of all that decides a run's result: config, data, code, libraries and device.

    Args:
        content: the resolved config.
        job: what it was loaded as.
    """
    data = job.dataset.digest
    return _sha("\n".join([config_digest(content), data, code_digest(*_plugins(job))]))


def digests(content: Mapping[str, Any], job: Job) -> dict[str, str]:
    """SHA-256 of what decides a run's result, each by itself: config, data, source code.

    Args:
        content: the resolved config.
        job: what it was loaded as.
    """
    return {
        "config": config_digest(content),
        "data": job.dataset.digest,
        "code": source_digest(*_plugins(job)),
    }


def _plugins(job: Job) -> list[Callable[..., Any]]:
    plan = job.fit.plan
    return [plugin.function for plugin in (plan.init, plan.log_prior, plan.optimizer, plan.schedule)]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_sweep_name(name: str) -> None:
    """Refuse a name that cannot be the name of a folder.

    Raises:
        InputError: which name.
    """
    if Path(name).name != name or name in ("", ".", "..") or not name.isprintable():
        raise InputError(
            "sweep", expected="a name without slashes", came=repr(name), remedy="For example sweep=my_study."
        )
