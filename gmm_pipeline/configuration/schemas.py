"""The schema of every command's config: types, the meaning of each key, and what it allows.

Every number lives in `conf/`. A node with `_target_` names a plain function: positional arguments are data,
keyword-only arguments are hyperparameters.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from gmm_pipeline.configuration.limits import (
    ALL,
    EXECUTORS,
    LARGEST_FONT,
    LARGEST_PORT,
    LEAST_DPI,
    LEAST_FONT,
    LEAST_FPS,
    LEAST_INCHES,
    LEAST_SHARE,
    LEVEL,
    LONGEST_HOLD_S,
    MOST_AT_ONCE,
    MOST_CANDIDATES,
    MOST_COMPONENTS,
    MOST_DPI,
    MOST_EFFORT,
    MOST_FACTORS,
    MOST_FPS,
    MOST_FRAMES,
    MOST_INCHES,
    MOST_PATIENCE_S,
    MOST_POINTS,
    MOST_REPEATS,
    MOST_ROWS,
    MOST_STEPS,
    MOST_WORKERS,
    PICTURE_FORMATS,
    PICTURE_STYLES,
    PICTURED_RUNS,
    AnyOf,
    Function,
    Limit,
    OneOf,
    Pair,
    Real,
    Whole,
)
from gmm_pipeline.model.covariances import ALIASES, NAMES
from gmm_pipeline.model.vocabulary import CRITERIA, LARGEST_SEED, OBJECTIVES


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


def key(meaning: str, limit: Limit | None = None) -> Any:
    """A config key without a default, with the meaning that `--help` shows, and what it allows."""
    return field(default=MISSING, metadata={"meaning": meaning, "limit": limit})


def limited(limit: Limit | None) -> Any:
    """A key of a group, whose meaning stands in the group's YAML, and what it allows."""
    return field(default=MISSING, metadata={"limit": limit})


@dataclass
class SingleFiguresConfig:
    """Keys of the group `figures` in commands that draw pictures of one thing; their meanings stand in its YAML."""

    formats: list[str] = limited(AnyOf(PICTURE_FORMATS["figures"]))
    dpi: int = limited(Whole(LEAST_DPI, MOST_DPI))
    size: list[float] = limited(Pair(LEAST_INCHES, MOST_INCHES))
    font_size: float = limited(Real(LEAST_FONT, LARGEST_FONT))
    style: str = limited(OneOf(PICTURE_STYLES))


@dataclass
class FiguresConfig:
    """Keys of the group `figures` in `fit`, which has sweeps."""

    formats: list[str] = limited(AnyOf(PICTURE_FORMATS["figures"]))
    sweep: str = limited(OneOf(PICTURED_RUNS))
    dpi: int = limited(Whole(LEAST_DPI, MOST_DPI))
    size: list[float] = limited(Pair(LEAST_INCHES, MOST_INCHES))
    font_size: float = limited(Real(LEAST_FONT, LARGEST_FONT))
    style: str = limited(OneOf(PICTURE_STYLES))


@dataclass
class SingleAnimationConfig:
    """Keys of the group `animation` in commands that animate one run; their meanings stand in its YAML."""

    formats: list[str] = limited(AnyOf(PICTURE_FORMATS["animation"]))
    frames: int = limited(Whole(1, MOST_FRAMES))
    fps: float = limited(Real(LEAST_FPS, MOST_FPS))
    hold: float = limited(Real(0.0, LONGEST_HOLD_S))
    dpi: int = limited(Whole(LEAST_DPI, MOST_DPI))
    size: list[float] = limited(Pair(LEAST_INCHES, MOST_INCHES))


@dataclass
class AnimationConfig:
    """Keys of the group `animation` in `fit`, which has sweeps."""

    formats: list[str] = limited(AnyOf(PICTURE_FORMATS["animation"]))
    sweep: str = limited(OneOf(PICTURED_RUNS))
    frames: int = limited(Whole(1, MOST_FRAMES))
    fps: float = limited(Real(LEAST_FPS, MOST_FPS))
    hold: float = limited(Real(0.0, LONGEST_HOLD_S))
    dpi: int = limited(Whole(LEAST_DPI, MOST_DPI))
    size: list[float] = limited(Pair(LEAST_INCHES, MOST_INCHES))


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
    series_points: int = limited(Whole(0, MOST_POINTS))


@dataclass
class TrackingConfig(RunTrackingConfig):
    """Keys of the group `tracking` in `fit`, which has sweeps; as `keys_of_sweep.yaml` has them."""

    sweep_series_points: int = limited(Whole(0, MOST_POINTS))


@dataclass
class LogTrackingConfig:
    """Keys of the group `tracking` as `log` has them."""

    uri: str | None = MISSING
    experiment: str | None = MISSING
    run_name: str | None = MISSING
    series_points: int | None = limited(Whole(0, MOST_POINTS))
    sweep_series_points: int | None = limited(Whole(0, MOST_POINTS))


@dataclass
class SelectionConfig:
    """What `n_components=auto` chooses from."""

    smallest: int = key("number of components to begin with", Whole(1, MOST_CANDIDATES))
    largest: int = key("number of components to end with", Whole(1, MOST_CANDIDATES))
    scales: list[str] = key(
        "kinds of scales to compare, of one column: free, equal or both", AnyOf(tuple(Scales.__members__), fewest=1)
    )
    covariances: list[str] = key(
        "covariance models to compare, of several columns, where covariance=auto", AnyOf((*NAMES, *ALIASES), fewest=1)
    )


@dataclass
class SearchMovesConfig:
    """Shares of a search's moves; their meanings stand in the YAML of the group `search`."""

    swap: float = limited(Real(0.0, MOST_EFFORT))
    split: float = limited(Real(0.0, MOST_EFFORT))
    nest: float = limited(Real(0.0, MOST_EFFORT))
    join: float = limited(Real(0.0, MOST_EFFORT))
    fresh: float = limited(Real(0.0, MOST_EFFORT))


@dataclass
class SearchStartsConfig:
    """Hyperparameters of a search's first mixtures, as `init=various` has them."""

    quantile: float = limited(Real(0.0, 1.0))
    kmeans: float = limited(Real(0.0, 1.0))
    jitter: float = limited(Real(0.0, 1.0))
    overlap: float = limited(Real(LEAST_SHARE, MOST_EFFORT))
    smallest_scale: float = limited(Real(LEAST_SHARE, MOST_EFFORT))
    narrowest: float = limited(Real(LEAST_SHARE, MOST_EFFORT))


@dataclass
class SearchConfig:
    """Keys of the group `search`; their meanings stand in its YAML."""

    points: int = limited(Whole(16, MOST_ROWS))
    rows: int = limited(Whole(16, MOST_ROWS))
    most_data: int = limited(Whole(16, MOST_ROWS))
    most_rows: int = limited(Whole(16, MOST_ROWS))
    condensed_to: int = limited(Whole(16, MOST_ROWS))
    mixtures: int = limited(Whole(2, MOST_AT_ONCE))
    kept: int = limited(Whole(1, MOST_AT_ONCE))
    passes: int = limited(Whole(1, MOST_AT_ONCE))
    rounds: int = limited(Whole(0, MOST_EFFORT))
    least_rounds: int = limited(Whole(0, MOST_EFFORT))
    patience: float = limited(Real(1.0))
    screening: int = limited(Whole(1, MOST_EFFORT))
    margin: float = limited(Real(0.0))
    finalists: int = limited(Whole(1, MOST_AT_ONCE))
    work: float = limited(Real(1.0))
    places: int = limited(Whole(1, MOST_AT_ONCE))
    narrowest: float = limited(Real(LEAST_SHARE, 1.0))
    moves: SearchMovesConfig = field(default_factory=SearchMovesConfig)
    starts: SearchStartsConfig = field(default_factory=SearchStartsConfig)


@dataclass
class ExecutionConfig:
    """Keys of the group `execution`; their meanings stand in its YAML."""

    kind: str = limited(OneOf(EXECUTORS))
    workers: int | None = limited(Whole(1, MOST_WORKERS))
    devices: Any = limited(Whole(1, MOST_WORKERS, (ALL,)))
    address: str | None = MISSING
    n_processes: int | None = limited(Whole(1, MOST_WORKERS))
    process_id: int | None = limited(Whole(0, MOST_WORKERS))
    patience: int = limited(Whole(1, MOST_PATIENCE_S))


@dataclass
class PluginsConfig:
    """Whose functions a config may name."""

    allow: list[str] = key("packages or modules of your own whose functions a _target_ may name, as in [my_priors]")


@dataclass
class FitConfig:
    """Keys of `fit`."""

    config: str | None = key("YAML file with a whole resolved config, such as a record's; overrides win over it")
    data: Any = key("what is fitted: a generating spec or a file", Function())
    n_components: Any = key("number of Gaussians; auto chooses one", Whole(1, MOST_COMPONENTS, ("auto",)))
    criterion: str = key(
        "what auto chooses by: bic, aic, icl, sbic, held_out (with folds) or likelihood_ratio", OneOf(CRITERIA)
    )
    selection: SelectionConfig = key("what auto chooses from")
    folds: int = key("folds of cross-validation, for a held-out log-likelihood; 0 for none", Whole(0, MOST_REPEATS))
    bootstrap: int = key("replicates for percentile intervals; 0 for none", Whole(0, MOST_REPEATS))
    likelihood_ratio: int = key(
        "replicates of a bootstrap test of K against K + 1 components; 0 for none", Whole(0, MOST_REPEATS)
    )
    level: float = key("confidence level of intervals; a test rejects at 1 - level", LEVEL)
    prior: Any = key("log prior density of the parameters", Function())
    init: Any = key("where the fit starts", Function())
    search: SearchConfig = key("search for the best optimum before the fit starts; none: the answer is the best start")
    optimizer: Any = key("any optax optimizer, by _target_", Function())
    schedule: Any = key("factor on the optimizer's updates over the steps", Function())
    steps: int = key("maximum number of optimizer steps", Whole(1, MOST_STEPS))
    history_every: int = key("steps between two entries of the recorded history", Whole(1, MOST_STEPS))
    seed: int = key("random seed of the starts; the data have their own, data.seed", Whole(0, LARGEST_SEED))
    restarts: int = key(
        "independent searches for the best optimum, and starts that are trained", Whole(1, MOST_REPEATS)
    )
    scales: Scales = key("of one column; free: each component has its own; equal: all share one")
    covariance: str = key(
        "of several columns: full, tied, diagonal, spherical, factor, or one of mclust's 14 models, EII to VVV; "
        "auto chooses"
    )
    factors: int = key("number of factors of each component, where covariance=factor", Whole(1, MOST_FACTORS))
    noise: NoiseKind = key("a noise component, uniform over the data's box or convex hull; none for none")
    scale_floor: float = key(
        "smallest scale of a component, as a share of the data's standard deviation; 0 for none", Real(0.0, 1.0)
    )
    scale_floor_of_many: float = key(
        "the same of a component whose data differ and are no accident, used where they lie closer together than "
        "scale_floor; at least that: none",
        Real(0.0, 1.0),
    )
    fewest_data: float = key("a component with the weight of fewer observations than this is degenerate", Real(0.0))
    tolerance: float = key(
        "a fit may stop when a step gains fewer nats of log posterior than this; 0 never stops", Real(0.0)
    )
    gradient_tolerance: float = key(
        "a fit may stop when the gradient is shorter than this, in standard errors", Real(0.0)
    )
    halves_apart: float = key(
        "how far the halves of a split component start from its loc, in units of its scale; from 0.001 to 0.999",
        Real(0.001, 0.999),
    )
    standardize: bool = key("fit data of mean 0 and standard deviation 1; results are in your units either way")
    minibatch: int = key("observations that a step sees, drawn anew for each step; 0 for all", Whole(0, MOST_ROWS))
    average_loss: bool = key("the optimizer sees the mean loss per datum, not the sum: step sizes hold for any n")
    objective: str = key("metric that a run is judged by: bic, aic, icl, loss or log_likelihood", OneOf(OBJECTIVES))
    sweep: str | None = key("name of a sweep and of its folder; the same name resumes it; null makes up a name")
    fused: bool = key("one vectorised pass for loss and gradient, on CPUs; false: the plain formula")
    precision: Precision = key(
        "float type of the fit: float32, float64, or auto: float64 for several columns, and for one half of whose data "
        "lie within a thousandth of their standard deviation, else float32; the final log-likelihood is always float64"
    )
    threefry_partitionable: bool = key("random bits of today's JAX; false gives those of JAX before 0.5")
    execution: ExecutionConfig = key(
        "what computes the runs of a sweep: threads, processes or ray; or a fit: threads or distributed"
    )
    figures: FiguresConfig = key("pictures of the record; none for no pictures")
    animation: AnimationConfig = key("animation of the training; none for no animation")
    tracking: TrackingConfig = key("where runs are logged; none logs nowhere")
    plugins: PluginsConfig = key("whose functions the config may name; taken from the command line alone")
    timings: bool = key("false: the record leaves out what differs between two runs of one config: times, git, …")
    csv_rows: int = key("a single fit also writes labels as CSV, for up to this many rows", Whole(0, MOST_ROWS))
    outputs_dir: str = key("folder of records and tracking store")
    compilation_cache: str | None = key("folder of compiled programs; user: the user's cache folder; null keeps none")


@dataclass
class SimulateConfig:
    """Keys of `simulate`."""

    config: str | None = key("YAML file with a whole resolved config, as for fit; its other keys are ignored")
    data: Any = key("what is drawn: a generating spec", Function())
    output: str = key("file for the data, .parquet or .csv; the truth and a picture go beside it")
    threefry_partitionable: bool = key("random bits of today's JAX; false gives those of JAX before 0.5")
    figures: SingleFiguresConfig = key("format of the picture; none for no picture")
    plugins: PluginsConfig = key("whose functions the config may name; taken from the command line alone")
    outputs_dir: str = key("folder of everything that is written")


@dataclass
class PredictConfig:
    """Keys of `predict`."""

    run: str = key("folder of a record, or the id of a run in MLflow; latest for the newest, or a sweep's best")
    data: Any = key("what is labelled: a file or a generating spec", Function())
    output: str = key("file for the labels, responsibilities and log densities, .parquet or .csv")
    csv_rows: int = key(
        "if output is left out, the labels are also written as CSV, for up to this many rows", Whole(0, MOST_ROWS)
    )
    alien_level: float = key(
        "data drawn from the mixture itself are called alien with at most about this probability", Real(0.0, 0.5)
    )
    alien_gap: float = key(
        "alien data have a mean log density this many nats below that of the mixture's own data", Real(0.0)
    )
    threefry_partitionable: bool = key("random bits of today's JAX; false gives those of JAX before 0.5")
    plugins: PluginsConfig = key("whose functions the config may name; taken from the command line alone")
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
    plugins: PluginsConfig = key("whose functions the config may name; taken from the command line alone")
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
    level: float = key("level of the bands around quantiles and CDF; a fit is in doubt if p is below 1 - level", LEVEL)
    quantiles: int = key("maximum number of points of the QQ plot", Whole(2, 10_000))
    simulations: int = key(
        "number of simulations of how far data of the mixture deviate from it, for a p-value", Whole(100, 1_000_000)
    )
    seed: int = key("random seed of the simulations", Whole(0, LARGEST_SEED))
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
    port: int = key("port the page is served at", Whole(0, LARGEST_PORT))
    outputs_dir: str = key("folder of the store")


COMMANDS_OWN = ("config", "tracking", "outputs_dir", "output", "compilation_cache", "sweep", "plugins", "execution")
"""Keys that a command never takes from a file: where it writes, tracks and computes, and whose code it runs."""
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
