"""The config's schema, and the only calls that turn config into objects.

The schema holds types and the meaning of each key; every number lives in `conf/`. A node with `_target_` names a plain
function: positional arguments are data, keyword-only arguments are hyperparameters. Everything is checked before any
work starts; the price is that a plug-in's arguments are checked by its signature alone.
"""

import functools
import importlib.resources
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, DictConfig, OmegaConf

from gmm_pipeline import environment
from gmm_pipeline.configuration import checks
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.inference.plugins import Plugin

if TYPE_CHECKING:
    from gmm_pipeline.records.datasets import Dataset


class Precision(Enum):
    """Floating-point type of a fit."""

    auto = "auto"
    float32 = "float32"
    float64 = "float64"


class Scales(Enum):
    """Whether each component has a scale of its own, or all share one."""

    free = "free"
    equal = "equal"


class NoiseKind(Enum):
    """The volume over which a noise component is uniform."""

    none = "none"
    box = "box"
    hull = "hull"


def key(meaning: str) -> Any:
    """A config key without a default, with the meaning that `--help` shows."""
    return field(default=MISSING, metadata={"meaning": meaning})


@dataclass
class SingleFiguresConfig:
    """Keys of the group `figures` in commands that draw pictures of one thing; their meanings stand in its YAML."""

    formats: list[str] = MISSING
    dpi: int = MISSING
    size: list[float] = MISSING
    font_size: float = MISSING
    style: str = MISSING


@dataclass
class FiguresConfig:
    """Keys of the group `figures` in `fit`, which has sweeps."""

    formats: list[str] = MISSING
    sweep: str = MISSING
    dpi: int = MISSING
    size: list[float] = MISSING
    font_size: float = MISSING
    style: str = MISSING


@dataclass
class SingleAnimationConfig:
    """Keys of the group `animation` in commands that animate one run; their meanings stand in its YAML."""

    formats: list[str] = MISSING
    frames: int = MISSING
    fps: float = MISSING
    hold: float = MISSING
    dpi: int = MISSING
    size: list[float] = MISSING


@dataclass
class AnimationConfig:
    """Keys of the group `animation` in `fit`, which has sweeps."""

    formats: list[str] = MISSING
    sweep: str = MISSING
    frames: int = MISSING
    fps: float = MISSING
    hold: float = MISSING
    dpi: int = MISSING
    size: list[float] = MISSING


@dataclass
class StoreConfig:
    """Keys of the group `tracking` in commands that ask a store for a run; their meanings stand in its YAML."""

    uri: str | None = MISSING


@dataclass
class UiTrackingConfig(StoreConfig):
    """Keys of the group `tracking` in `ui`, which lists runs; as `keys_of_experiment.yaml` has them."""

    experiment: str = MISSING


@dataclass
class RunTrackingConfig(UiTrackingConfig):
    """Keys of the group `tracking` in `rerun`, which logs a run; as `keys_of_run.yaml` has them."""

    run_name: str | None = MISSING
    series_points: int = MISSING


@dataclass
class TrackingConfig(RunTrackingConfig):
    """Keys of the group `tracking` in `fit`, which has sweeps; as `keys_of_sweep.yaml` has them."""

    sweep_series_points: int = MISSING


@dataclass
class LogTrackingConfig:
    """Keys of the group `tracking` as `log` has them."""

    uri: str | None = MISSING
    experiment: str | None = MISSING
    run_name: str | None = MISSING
    series_points: int | None = MISSING
    sweep_series_points: int | None = MISSING


@dataclass
class SelectionConfig:
    """What `n_components=auto` chooses from."""

    smallest: int = key("number of components to begin with")
    largest: int = key("number of components to end with")
    scales: list[str] = key("kinds of scales to compare, of one column: free, equal or both")
    covariances: list[str] = key("covariance models to compare, of several columns, where covariance=auto")


@dataclass
class SearchMovesConfig:
    """Shares of a search's moves; their meanings stand in the YAML of the group `search`."""

    swap: float = MISSING
    split: float = MISSING
    nest: float = MISSING
    join: float = MISSING
    fresh: float = MISSING


@dataclass
class SearchStartsConfig:
    """Hyperparameters of a search's first mixtures, as `init=various` has them."""

    quantile: float = MISSING
    kmeans: float = MISSING
    jitter: float = MISSING
    overlap: float = MISSING
    smallest_scale: float = MISSING
    narrowest: float = MISSING


@dataclass
class SearchConfig:
    """Keys of the group `search`; their meanings stand in its YAML."""

    points: int = MISSING
    rows: int = MISSING
    mixtures: int = MISSING
    kept: int = MISSING
    passes: int = MISSING
    rounds: int = MISSING
    patience: float = MISSING
    screening: int = MISSING
    margin: float = MISSING
    finalists: int = MISSING
    places: int = MISSING
    narrowest: float = MISSING
    moves: SearchMovesConfig = field(default_factory=SearchMovesConfig)
    starts: SearchStartsConfig = field(default_factory=SearchStartsConfig)


@dataclass
class FitConfig:
    """Keys of `fit`."""

    config: str | None = key("YAML file with a whole resolved config, such as a record's; overrides win over it")
    data: Any = key("what is fitted: a generating spec or a file")
    n_components: Any = key("number of Gaussians; auto chooses one")
    criterion: str = key("what auto chooses by: bic, aic, icl, sbic, held_out (with folds) or likelihood_ratio")
    selection: SelectionConfig = key("what auto chooses from")
    folds: int = key("folds of cross-validation, for a held-out log-likelihood; 0 for none")
    bootstrap: int = key("replicates for percentile intervals; 0 for none")
    likelihood_ratio: int = key("replicates of a bootstrap test of K against K + 1 components; 0 for none")
    level: float = key("confidence level of intervals; a test rejects at 1 - level")
    prior: Any = key("log prior density of the parameters")
    init: Any = key("where the fit starts")
    search: SearchConfig = key("search for the best optimum before the fit starts; none: the answer is the best start")
    optimizer: Any = key("any optax optimizer, by _target_")
    schedule: Any = key("factor on the optimizer's updates over the steps")
    steps: int = key("maximum number of optimizer steps")
    history_every: int = key("steps between two entries of the recorded history")
    seed: int = key("random seed of the starts; the data have their own, data.seed")
    restarts: int = key("independent searches for the best optimum, and starts that are trained")
    scales: Scales = key("of one column; free: each component has its own; equal: all share one")
    covariance: str = key(
        "of several columns: full, tied, diagonal, spherical, or one of mclust's 14 models, EII to VVV; auto chooses"
    )
    noise: NoiseKind = key("a noise component, uniform over the data's box or convex hull; none for none")
    scale_floor: float = key("smallest scale of a component, as a share of the data's standard deviation; 0 for none")
    fewest_data: float = key("a component with the weight of fewer observations than this is degenerate")
    tolerance: float = key("a fit may stop when a step gains fewer nats of log posterior than this; 0 never stops")
    gradient_tolerance: float = key("a fit may stop when the gradient is shorter than this, in standard errors")
    halves_apart: float = key(
        "how far the halves of a split component start from its loc, in units of its scale; from 0.001 to 0.999"
    )
    standardize: bool = key("fit data of mean 0 and standard deviation 1; results are in your units either way")
    average_loss: bool = key("the optimizer sees the mean loss per datum, not the sum: step sizes hold for any n")
    objective: str = key("metric that a run is judged by: bic, aic, icl, loss or log_likelihood")
    sweep: str | None = key("name of a sweep and of its folder; the same name resumes it; null makes up a name")
    fused: bool = key("one vectorised pass for loss and gradient, on CPUs; false: the plain formula")
    precision: Precision = key(
        "float type of the fit: float32, float64, or auto: float32 for one column, float64 for several; the final "
        "log-likelihood is always float64"
    )
    threefry_partitionable: bool = key("random bits of today's JAX; false gives those of JAX before 0.5")
    figures: FiguresConfig = key("pictures of the record; none for no pictures")
    animation: AnimationConfig = key("animation of the training; none for no animation")
    tracking: TrackingConfig = key("where runs are logged; none logs nowhere")
    timings: bool = key("false: the record leaves out what differs between two runs of one config: times, git, …")
    csv_rows: int = key("a single fit also writes labels as CSV, for up to this many rows")
    outputs_dir: str = key("folder of records and tracking store")
    compilation_cache: str | None = key("folder of compiled programs; user: the user's cache folder; null keeps none")


@dataclass
class SimulateConfig:
    """Keys of `simulate`."""

    config: str | None = key("YAML file with a whole resolved config, as for fit; its other keys are ignored")
    data: Any = key("what is drawn: a generating spec")
    output: str = key("file for the data, .parquet or .csv; the truth and a picture go beside it")
    threefry_partitionable: bool = key("random bits of today's JAX; false gives those of JAX before 0.5")
    figures: SingleFiguresConfig = key("format of the picture; none for no picture")
    outputs_dir: str = key("folder of everything that is written")


@dataclass
class PredictConfig:
    """Keys of `predict`."""

    run: str = key("folder of a record, or the id of a run in MLflow; latest for the newest, or a sweep's best")
    data: Any = key("what is labelled: a file or a generating spec")
    output: str = key("file for the labels, responsibilities and log densities, .parquet or .csv")
    csv_rows: int = key("if output is left out, the labels are also written as CSV, for up to this many rows")
    alien_level: float = key("data drawn from the mixture itself are called alien with at most about this probability")
    alien_gap: float = key("alien data have a mean log density this many nats below that of the mixture's own data")
    threefry_partitionable: bool = key("random bits of today's JAX; false gives those of JAX before 0.5")
    tracking: StoreConfig = key("the store to look up a run's id in")
    outputs_dir: str = key("folder of the records and of everything that is written")


@dataclass
class RerunConfig:
    """Keys of `rerun`; with any other key of `fit` it is a variation."""

    run: str = key("folder of a record, or the id of a run in MLflow; latest for the newest, or a sweep's best")
    figures: SingleFiguresConfig = key("pictures of the rerun; a variation has those of the record")
    animation: SingleAnimationConfig = key("animation of the rerun; a variation has that of the record")
    tracking: RunTrackingConfig = key(
        "the store to look up a run's id in; if it is named, the rerun is logged there too"
    )
    outputs_dir: str = key("folder of records and tracking store")
    compilation_cache: str | None = key("folder of compiled programs; user: the user's cache folder; null keeps none")


@dataclass
class AnimateConfig:
    """Keys of `animate`."""

    config: str | None = key("YAML file with a whole resolved config, as for fit; its other keys are ignored")
    run: str = key("folder of a record; latest for the newest under outputs_dir, or a sweep's best")
    output: str | None = key("folder of the animation; null for the record's own")
    animation: SingleAnimationConfig = key("frames, speed and formats")
    outputs_dir: str = key("folder of the records")


@dataclass
class ReportConfig:
    """Keys of `report`."""

    run: str = key("folder of a record or a sweep, or the id of a run in MLflow; latest for the newest run or sweep")
    output: str | None = key("file for the page, .html; null for report.html in the folder of the record or sweep")
    film: str | None = key("folder of a run's animation; null for the record's own")
    level: float = key("level of the bands around quantiles and CDF; a fit is in doubt if p is below 1 - level")
    quantiles: int = key("maximum number of points of the QQ plot")
    simulations: int = key("number of simulations of how far data of the mixture deviate from it, for a p-value")
    seed: int = key("random seed of the simulations")
    tracking: StoreConfig = key("the store of the run, where the page is attached to it; none for nowhere")
    outputs_dir: str = key("folder of the records")


@dataclass
class LogConfig:
    """Keys of `log`."""

    run: str = key("folder of a record, of a sweep, or of many of them; latest; all for all under outputs_dir")
    tracking: LogTrackingConfig = key("the store to upload to; null keys are taken from each record's own config")
    outputs_dir: str = key("folder of the records")


@dataclass
class RepairConfig:
    """Keys of `repair`."""

    outputs_dir: str = key("folder of the records, where it is now")
    tracking: StoreConfig = key("the store whose paths are fixed")


@dataclass
class UiConfig:
    """Keys of `ui`."""

    tracking: UiTrackingConfig = key("the store that is shown")
    host: str = key("address the page is served at")
    port: int = key("port the page is served at")
    outputs_dir: str = key("folder of the store")


def check_kinds(cfg: DictConfig, content: Mapping[str, Any]) -> None:
    """Refuse values of another type than the schema declares.

    OmegaConf has checked each value that was typed, but lets an interpolation put anything in the place of a list.

    Args:
        cfg: the composed config, which knows its schema.
        content: the same, resolved.

    Raises:
        OmegaConfBaseException: which key, and its value.
    """
    OmegaConf.merge(OmegaConf.structured(OmegaConf.get_type(cfg)), dict(content))


OF_DEVICES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
"""Environment variables that choose JAX's devices; the second is the older one."""
BATCHED = ("optimizer", "prior", "init", "schedule")
"""Groups whose floats may differ between the runs of one program."""

COMMANDS_OWN = ("config", "tracking", "outputs_dir", "output", "compilation_cache", "sweep")
"""Keys that a command never takes from a file: where it writes to, and where it tracks."""
PICTURES = ("figures", "animation")
"""Groups of pictures, which name no function."""
OF_FILE = "of_file"
"""The option of each group that holds the values of a config file."""

SCHEMAS: dict[str, type] = {
    "simulate": SimulateConfig,
    "fit": FitConfig,
    "rerun": RerunConfig,
    "predict": PredictConfig,
    "animate": AnimateConfig,
    "report": ReportConfig,
    "log": LogConfig,
    "repair": RepairConfig,
    "ui": UiConfig,
}


def config_directory() -> Path:
    """Where `conf/` is: inside the installed package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("gmm_pipeline")))
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def register() -> None:
    """Register the schemas, and the resolvers that `conf/` uses, with Hydra."""
    from hydra.core.config_store import ConfigStore

    for command, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{command}_schema", node=schema)
    OmegaConf.register_new_resolver("gmm.ceil_div", lambda number, by: -(-int(number) // int(by)), replace=True)
    OmegaConf.register_new_resolver("gmm.or", lambda value, other: other if value is None else value, replace=True)
    OmegaConf.register_new_resolver("gmm.env", lambda name, other: os.environ.get(name) or other, replace=True)
    OmegaConf.register_new_resolver("gmm.experiment", environment.experiment, replace=True)
    # Cached, so that all jobs of one launch agree.
    OmegaConf.register_new_resolver("gmm.unique", lambda: os.urandom(3).hex(), use_cache=True, replace=True)


def build_plugin(cfg: DictConfig, name: str) -> Plugin:
    """The function that the node `name` points at by `_target_`, with the node's other keys as hyperparameters.

    Args:
        cfg: the config.
        name: the node's key, which is also the name of its group.

    Raises:
        InputError: where there is no such function, or it does not take these hyperparameters.
    """
    node = OmegaConf.select(cfg, name)
    target = OmegaConf.select(node, "_target_") if OmegaConf.is_dict(node) else None
    if target is None:
        options = sorted(path.stem for path in (config_directory() / name).glob("*.yaml"))
        raise InputError(
            name,
            expected="a config with a _target_",
            came=str(node),
            remedy=f"Choose one of {', '.join(options)} with {name}=NAME.",
        )
    return _built_plugin(name, _as_text(node))


def _as_text(node: Any) -> str:
    return json.dumps(OmegaConf.to_container(node, resolve=True), sort_keys=True)


@functools.lru_cache(maxsize=256)
def _built_plugin(name: str, node: str) -> Plugin:
    """A plug-in from its node as text, so that the runs of a sweep that share it build it once."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    content = json.loads(node)
    target = content["_target_"]
    try:
        partial = instantiate(content, _partial_=True, _convert_="all")
    except InstantiationException as error:
        raise InputError(
            f"{name}._target_",
            expected="the dotted name of a function that can be imported",
            came=repr(target),
            remedy="Check the name, and that its package is installed in this environment.",
        ) from error
    if not isinstance(partial, functools.partial):
        raise InputError(
            f"{name}._target_", expected="the name of a function", came=repr(target), remedy="Name a function."
        )
    signature = _check_signature(name, partial.func, partial.keywords)
    values = {key: _as_declared(name, signature, key, _hashable(value)) for key, value in partial.keywords.items()}
    return Plugin(partial.func, tuple(sorted(values.items())))


def build_dataset(cfg: DictConfig, stamp: tuple[int, int] | None = None) -> "Dataset":
    """The data that the node `data` declares.

    Args:
        cfg: the config.
        stamp: of the file that it names, as `stamp_of_data` gives it.

    Raises:
        InputError: where they cannot be had or fitted.
    """
    import jax

    partitionable = bool(jax.config.values["jax_threefry_partitionable"])
    loader = build_plugin(cfg, "data")
    try:
        return _built_dataset(loader, stamp, partitionable)
    except (RuntimeError, AssertionError):
        check_jax()  # data may be drawn with it
        raise


def stamp_of_data(node: Any) -> tuple[int, int] | None:
    """Time and size of the file that a data node names; None where it names none that is there."""
    path = node.get("path") if isinstance(node, dict) else None
    file = Path(str(path)) if path is not None else None
    return (file.stat().st_mtime_ns, file.stat().st_size) if file is not None and file.is_file() else None


@functools.lru_cache(maxsize=8)
def _built_dataset(loader: Plugin, stamp: tuple[int, int] | None, threefry_partitionable: bool) -> "Dataset":
    """Data, cached for later runs of a sweep that use the same unchanged file or the same draws."""
    return loader()


def _check_signature(name: str, function: Callable[..., Any], hyperparameters: dict[str, Any]) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except ValueError as error:  # of some that are written in C
        raise InputError(
            f"{name}._target_",
            expected="a function that says which hyperparameters it takes",
            came=f"{function.__module__}.{function.__qualname__}",
            remedy="Name a function that is written in Python.",
        ) from error
    try:
        signature.bind_partial(**hyperparameters)
    except TypeError as error:
        unknown = next((key for key in hyperparameters if key not in signature.parameters), name)
        close = nearest(unknown, signature.parameters)
        raise InputError(
            f"{name}.{unknown}",
            expected=f"a hyperparameter of {function.__qualname__}: {', '.join(signature.parameters)}",
            came=unknown,
            remedy=f"Did you mean {' or '.join(close)}?" if close else f"Remove {name}.{unknown}.",
        ) from error
    for parameter in signature.parameters.values():
        required = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if required and parameter.name not in hyperparameters:
            raise checks.missing_value(f"{name}.{parameter.name}")
    return signature


def _as_declared(name: str, signature: inspect.Signature, key: str, value: Any) -> Any:
    """A hyperparameter as its function declares it.

    If that is a float, a whole number is converted: a sweep over 1, 2.5 is over floats. Nothing else is, neither a
    text that reads as a number nor a truth value, as NumPy would do.
    """
    declared = signature.parameters.get(key)
    annotation = "" if declared is None else str(declared.annotation)
    is_list, takes_text = isinstance(value, tuple), re.search(r"\bstr\b", annotation) is not None
    if takes_text and annotation.startswith("collections.abc.Sequence") and type(value) in (str, int, float):
        return (value,)
    remedy = f"Decimal numbers have a point, as in 0.05; leave {name}.{key} out to use the default."
    if _mappings_in(value):
        expected = "a number, a text, or a list of these"
    elif annotation.startswith("collections.abc.Sequence") and not is_list:
        expected, remedy = "a list, as in [1,2]", f"Leave {name}.{key} out to use the default."
    elif takes_text and is_list and not re.search(r"\b(Sequence|tuple|list|Any)\b", annotation):
        expected, remedy = "a text", f"Leave {name}.{key} out to use the default."
    elif re.search(r"\bfloat\b", annotation) and not re.search(r"\b(str|Sequence|tuple|list|Any)\b", annotation):
        if type(value) in (int, float):
            return float(value) if name in BATCHED else value
        if value is None and re.search(r"\b(None|NoneType|Optional)\b", annotation):
            return value
        expected = "a number"
    else:
        return value
    raise InputError(
        f"{name}.{key}",
        expected=expected,
        came="none" if value is None else repr(list(value) if is_list else value),
        remedy=remedy,
    )


def _mappings_in(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, tuple) and any(map(_mappings_in, value)))


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value


def configure_jax(*, threefry_partitionable: bool, precision: Precision, compilation_cache: str | None) -> None:
    """Set what JAX keeps as global state: random bits, float type, and the folder of compiled programs.

    Args:
        threefry_partitionable: whether random bits are those of today's JAX.
        precision: float type of the fit; float64 of several columns is set for each fit.
        compilation_cache: folder of compiled programs; `user` for the user's own cache folder, None for none.
    """
    import jax

    from gmm_pipeline.inference import lowered
    from gmm_pipeline.records import compiled

    jax.config.update("jax_threefry_partitionable", threefry_partitionable)
    jax.config.update("jax_enable_x64", precision is Precision.float64)
    lowered.keep_in(compiled.keep_in(compilation_cache))


@functools.cache
def check_jax() -> None:
    """Refuse environment variables with which JAX cannot compute.

    Raises:
        InputError: which variable.
    """
    import jax

    if jax.config.values["jax_disable_jit"]:
        raise InputError(
            "JAX_DISABLE_JIT",
            expected="none: a fit is one compiled program",
            came=os.environ.get("JAX_DISABLE_JIT", "True"),
            remedy="Unset it.",
        )
    check_devices()


@functools.cache
def check_devices() -> None:
    """Refuse environment variables that name devices which JAX does not have.

    Raises:
        InputError: which variable.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a plug-in for CUDA is there
        variable = next((name for name in OF_DEVICES if name in os.environ), OF_DEVICES[0])
        asked = os.environ.get(variable, "none")
        extra = f', and pip install "gmm_pipeline[{asked}]" for {asked}' if asked in ("cuda", "tpu") else ""
        said = str(error).splitlines()[0] if str(error) else "no plug-in for it is installed"
        raise InputError(
            variable,
            expected="devices that this machine has and JAX can use",
            came=f"{asked} ({said})",
            remedy=f"Use {variable}=cpu for the processor{extra}.",
        ) from error
