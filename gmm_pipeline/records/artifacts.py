"""The one file that knows names and formats inside a record.

A record is the directory of one run:

| file | what |
| --- | --- |
| `.hydra/`, `fit.log` | Hydra's own: config, overrides, log |
| `config.yaml` | the resolved config |
| `data.json` | name, unit, digest and size of the data; the true mixture where it is known |
| `parameters.json` | `weights`, `locs`, `scales`, ordered by loc, in the user's units |
| `metrics.json` | `loss`, `log_likelihood`, `aic`, `bic`, … |
| `history.npz` | steps, losses and parameters, thinned |
| `assignments.parquet` | a row a datum: datum, sample weight, label, responsibilities |
| `figures/`, `animation/` | pictures |
| `record.json` | written last: status, command, versions, timings, where it was tracked |

Files appear whole or not at all (written beside, then renamed), and `record.json` comes last: a directory without it
is not a result. The price is a second rename per file.
"""

import contextlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import Mixture

CONFIG = "config.yaml"
DATA = "data.json"
PARAMETERS = "parameters.json"
METRICS = "metrics.json"
HISTORY = "history.npz"
ASSIGNMENTS = "assignments.parquet"
FIGURES = "figures"
ANIMATION = "animation"
RECORD = "record.json"

FORMAT = 1


class History(NamedTuple):
    """How a fit went: the state before step 0, then every `history_every` steps, then the end."""

    steps: Int[np.ndarray, " H"]
    """Optimizer steps taken so far."""
    losses: Float[np.ndarray, " H"]
    """Negative log posterior, summed over the data, in nats, for data in the user's units."""
    mixtures: Mixture
    """Parameters in the user's units, [H, K]; components in the order of the final locs."""


class Assignments(NamedTuple):
    """What the fitted mixture says of each datum."""

    data: Float[np.ndarray, " n"]
    sample_weights: Float[np.ndarray, " n"] | None
    labels: Int[np.ndarray, " n"]
    """The most probable component, counted from 0 in the order of locs."""
    responsibilities: Float[np.ndarray, "n K"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under its name only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        # mkstemp makes files private; a result is as readable as anything else the user makes.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with whole_file(path) as stream:
        stream.write(text.encode())


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    match value:
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case np.ndarray():
            return _finite(value.tolist())
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.integer():
            return int(value)
        case np.bool_():
            return bool(value)
        case _:
            return value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON that people can read; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a record."""
    return json.loads(path.read_text(encoding="utf-8"))


def mixture_as_json(mixture: Mixture) -> dict[str, Any]:
    """A mixture under its stable names."""
    return {name: np.asarray(values).tolist() for name, values in mixture._asdict().items()}


def mixture_from_json(content: Mapping[str, Any]) -> Mixture:
    """The mixture in a mapping with `weights`, `locs` and `scales`."""
    return Mixture(*(np.asarray(content[name], np.float64) for name in Mixture._fields))


def write_history(path: Path, history: History) -> None:
    """Write a history as npz."""
    with whole_file(path) as stream:
        np.savez_compressed(stream, steps=history.steps, losses=history.losses, **history.mixtures._asdict())


def read_history(path: Path) -> History:
    """Read what `write_history` wrote."""
    with np.load(path, allow_pickle=False) as content:
        mixtures = Mixture(*(content[name] for name in Mixture._fields))
        return History(content["steps"], content["losses"], mixtures)


def write_assignments(path: Path, assignments: Assignments) -> None:
    """Write labels and responsibilities as Parquet, a row a datum."""
    columns: dict[str, np.ndarray] = {"datum": assignments.data}
    if assignments.sample_weights is not None:
        columns["sample_weight"] = assignments.sample_weights
    columns["label"] = assignments.labels.astype(np.int32)
    for component, column in enumerate(assignments.responsibilities.T):
        columns[f"responsibility_{component}"] = np.ascontiguousarray(column)
    write_columns(path, columns)


def read_assignments(path: Path) -> Assignments:
    """Read what `write_assignments` wrote."""
    import pyarrow.parquet as parquet

    with path.open("rb") as stream:
        table = parquet.read_table(stream)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    responsibilities = [columns[name] for name in columns if name.startswith("responsibility_")]
    return Assignments(
        columns["datum"], columns.get("sample_weight"), columns["label"], np.stack(responsibilities, axis=1)
    )


def write_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write equally long columns as Parquet or CSV, by the suffix of the path."""
    import pyarrow as pa

    writers: dict[str, Callable[[pa.Table, BinaryIO], None]] = {".parquet": _write_parquet, ".csv": _write_csv}
    if path.suffix not in writers:
        raise InputError(
            str(path),
            expected=f"a file name that ends in {' or '.join(writers)}",
            came=f"{path.suffix!r}" if path.suffix else "no suffix",
            remedy="Choose the format by the suffix.",
        )
    buffer = io.BytesIO()
    writers[path.suffix](pa.table(dict(columns)), buffer)
    with whole_file(path) as stream:
        stream.write(buffer.getbuffer())


def _write_parquet(table: Any, stream: BinaryIO) -> None:
    import pyarrow.parquet as parquet

    parquet.write_table(table, stream)


def _write_csv(table: Any, stream: BinaryIO) -> None:
    from pyarrow import csv

    csv.write_csv(table, stream)
