"""What the JSON files and tables of a record and of a sweep hold, as types, against which `json_files` checks them.

No key of a JSON file is required: older records lack some, which is reported when one is asked for. Keys that are not
here are left as they are. Shapes of arrays are checked by `artifacts`, where they become arrays.
"""

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from msgspec import Meta

from gmm_pipeline.records import artifacts

MANIFEST = "sweep.json"
"""Of a sweep, in its folder."""

Number = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
MaybeNumber = Number | None
"""null where a number is not finite."""
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Time = Annotated[datetime, Meta(tz=True)]
Vector = list[MaybeNumber]
Matrix = list[Vector]


class OneColumn(TypedDict, total=False):
    """Numbers of K components of one column."""

    weights: Vector
    locs: Vector
    scales: Vector


class SeveralColumns(TypedDict, total=False):
    """Numbers of K components of several columns."""

    weights: Vector
    locs: Matrix
    covariances: list[Matrix]
    scales: Matrix
    correlations: list[Matrix]


Arrays = TypeVar("Arrays", OneColumn, SeveralColumns)


class Git(TypedDict, total=False):
    """State of the checkout."""

    commit: str | None
    dirty: bool | None
    diff: str | None


class Jax(TypedDict, total=False):
    """Settings of JAX, and its variables in the environment."""

    settings: dict[str, Any]
    environment: dict[str, Any]


class Provenance(TypedDict, total=False):
    """What a result was made with."""

    git: Git
    user: str
    python: str
    platform: str
    machine: str
    cpu: dict[str, Any]
    versions: dict[str, str | None]
    device: str
    devices: dict[str, Any]
    jax: Jax


class Doubt(TypedDict, total=False):
    """What speaks against a fit."""

    reason: str
    bars: bool
    words: str


class Digests(TypedDict, total=False):
    """SHA-256 of what a run was made of, and of its results."""

    config: str | None
    data: str | None
    code: str | None
    results: dict[str, str]


class Tracked(TypedDict, total=False):
    """Where a record was logged."""

    uri: str
    experiment: str
    experiment_id: str
    run_id: str
    page: str | None


class OfSweep(TypedDict, total=False):
    """The sweep that a run belongs to."""

    name: str
    id: str
    number: Count


class Origin(TypedDict, total=False):
    """The record that a run took its values from."""

    record: str
    run_id: str | None
    digests: Digests


class About(TypedDict, total=False):
    """`record.json`."""

    format: Count
    status: Literal["finished", "diverged", "failed"]
    error: str | None
    name: str
    command: str
    overrides: list[str]
    verdict: list[str]
    doubts: list[Doubt]
    digest: str | None
    digests: Digests
    files: dict[str, str]
    width: dict[str, Any]
    started: Time
    ended: Time
    provenance: Provenance
    timings: dict[str, Number]
    tracking: Tracked
    sweep: OfSweep
    origin: Origin


class Data(TypedDict, total=False):
    """`data.json`."""

    name: str
    unit: str | None
    source: str
    source_type: Literal["file", "generated", "passed"]
    column: str | None
    columns: list[str]
    n_data: Count
    n_missing: Count
    n_incomplete: Count
    sample_weights: bool
    weights_are: Literal["counts", "shares", "precision"]
    digest: str
    truth: dict[str, Any] | None


class NoiseComponent(TypedDict, total=False):
    """The noise of a mixture."""

    kind: str
    weight: Share
    log_density: Number
    standard_error: MaybeNumber
    lower: MaybeNumber
    upper: MaybeNumber


class Interval(TypedDict, Generic[Arrays], total=False):
    """Standard errors and ends of intervals, by one method."""

    standard_errors: Arrays
    lower: Arrays
    upper: Arrays


class Parameters(TypedDict, Generic[Arrays], total=False):
    """`parameters.json`, besides the mixture."""

    columns: list[str]
    covariance_model: str
    scales_are: str
    noise: NoiseComponent
    degenerate: list[Count]
    learned: dict[str, Number]
    level: Share
    standard_errors: Arrays
    lower: Arrays
    upper: Arrays
    bootstrap: Interval[Arrays]
    unconstrained: dict[str, Any]


class Metrics(TypedDict, total=False):
    """`metrics.json`, where it is not all numbers."""

    barred: str | None
    converged: bool
    n_data: Count
    n_components: Count
    n_parameters: Count
    n_steps: Count


class Start(TypedDict, total=False):
    """The outcome of one start."""

    log_posterior: MaybeNumber
    outcome: Literal["reached", "worse", "degenerate", "diverged"]
    converged: bool
    n_steps: Count


class Search(TypedDict, total=False):
    """What the search says."""

    n_searches: Count
    n_agreeing: Count
    log_posteriors: list[MaybeNumber]
    n_rounds: Count
    began: str


class Restarts(TypedDict, total=False):
    """`restarts.json`."""

    restarts: list[Start]
    search: Search


class Selection(TypedDict):
    """Columns of `selection.csv`."""

    n_components: list[Count]
    covariance: NotRequired[list[str]]
    scales: NotRequired[list[Literal["equal", "free"]]]
    chosen: list[bool]
    log_likelihood: list[float | None]
    degenerate: list[Count]
    diverged: list[bool]
    converged: list[bool]
    barred: NotRequired[list[str | None]]


class ManifestRun(TypedDict, total=False):
    """A run that belongs to a sweep."""

    number: Count
    overrides: list[str]
    digest: str | None


class Manifest(TypedDict, total=False):
    """`sweep.json`."""

    format: Count
    id: str
    name: str
    command: str
    started: str
    objective: str
    runs: list[ManifestRun]
    tracking: Tracked


class Plugin(TypedDict, total=False):
    """A function of a config with its hyperparameters."""

    _target_: str


class Tracking(TypedDict, total=False):
    """How a config logs its run."""

    uri: str | None
    experiment: str | None
    run_name: str | None
    series_points: Count | None
    sweep_series_points: Count | None


class Config(TypedDict, total=False):
    """`config.yaml`, as far as others than a fit read it: the schema of the commands checks what is fitted."""

    data: Plugin
    n_components: Count | str
    criterion: str
    selection: dict[str, Any]
    level: Share
    prior: Plugin
    init: Plugin
    optimizer: Plugin
    steps: Number
    seed: Number
    restarts: Number
    precision: str
    scales: str
    covariance: str
    noise: str | None
    tracking: Tracking


TYPES: dict[str, Any] = {
    artifacts.RECORD: About,
    artifacts.DATA: Data,
    artifacts.METRICS: Metrics,
    artifacts.RESTARTS: Restarts,
    artifacts.CONFIG: Config,
    artifacts.SELECTION: Selection,
    MANIFEST: Manifest,
}
"""By the name of the file."""


def kinds_of(name: str, content: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Parts of the content of a file, and the type that each has to have.

    Args:
        name: of the file.
        content: a mapping.
    """
    if name in TYPES:
        yield content, TYPES[name]
    if name == artifacts.SELECTION:  # all others are numbers
        others = {column: values for column, values in content.items() if column not in Selection.__annotations__}
        yield others, dict[str, list[float | None]]
    if name == artifacts.METRICS:  # all others are numbers
        others = {metric: value for metric, value in content.items() if metric not in Metrics.__annotations__}
        yield others, dict[str, MaybeNumber | bool]
    elif name == artifacts.PARAMETERS:
        kind = _kind_of(content)
        yield content, kind
        yield content, Parameters[kind]
    elif name == artifacts.DATA and content.get("truth") is not None:
        yield content["truth"], _kind_of(content["truth"])


def _kind_of(mixture: dict[str, Any]) -> Any:
    return SeveralColumns if "covariances" in mixture else OneColumn
