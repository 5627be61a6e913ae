"""`gmm_pipeline.fit`: the command `fit` without its folder."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmm_pipeline.analysis.answers import answer
from gmm_pipeline.api.bars import bar
from gmm_pipeline.api.composing import composed, overrides_of
from gmm_pipeline.api.keeping import keep, place, write_data
from gmm_pipeline.api.results import Fit
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.passed import NAME, hold, table_of
from gmm_pipeline.records.tables import PassedTable
from gmm_pipeline.stages.fit import compute, note_data
from gmm_pipeline.stages.loading import load_resolved
from gmm_pipeline.stages.recording import divergence, record_of_fit

FROM_PYTHON = "gmm_pipeline.records.passed.from_python"
OF_TABLE = ("column", "columns", "weights_column", "missing", "missing_codes", "truth", "name", "unit")
"""Keys of `data=file` that a table in memory has too."""
TRACKING = "tracking"


def fit(
    data: Any,
    *,
    sample_weight: Any = None,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    record: str | Path | bool | None = None,
    progress: bool = False,
    **keys: Any,
) -> Fit:
    """Fit a Gaussian mixture: maximise log p(θ) + Σ_i w_i log Σ_j π_j N(x_i | μ_j, Σ_j), by search and optimizer.

    The config is composed and checked as that of `python -m gmm_pipeline fit`, and the same engine computes it, so that
    the same config and data give the same bits. Nothing is written or tracked unless `record` or `tracking` is given.

    Args:
        data: [n] numbers, or [n, d] of d columns: an array, lists, a Series, a data frame of pandas or Polars, an Arrow
            table, or anything with `__arrow_c_stream__`, `__dataframe__` or `__array__`. Also the path of a file, or
            the name of a generating spec in `conf/data`, such as `two_modes`.
        sample_weight: how often each datum counts, [n]; None for once each.
        overrides: in the command line's grammar, such as `optimizer.learning_rate=0.05`.
        config_dir: folder with YAML files of your own, as for `--config-dir`.
        record: folder for the record that the command would leave, with its pictures (`figures="none"` and
            `animation="none"` for none) and the data that were passed; True for one under `outputs_dir`.
        progress: show a progress bar, on a terminal or in a notebook.
        **keys: any key of `fit`, such as `n_components="auto"`, `prior="flat"` or `covariance="tied"`; a mapping sets
            the keys below one, as in `optimizer={"learning_rate": 0.05}`. Keys of data, which have a name of their own
            here, are overrides: `overrides=["data.missing=drop", "data.unit=minutes"]`. With `tracking="mlflow"` the
            fit is logged, into the active run of MLflow if there is one.

    Raises:
        InputError: data or a key cannot be used. It is a ValueError.
    """
    started, lines = time.perf_counter(), [*overrides_of(keys), *overrides]
    with _settings_of_jax_kept(), contextlib.ExitStack() as open_folder:

        def folder_of(content: Mapping[str, Any]) -> Path | None:
            tracked = content["tracking"]["uri"] is not None and any(line.startswith(TRACKING) for line in lines)
            return open_folder.enter_context(place(record, content["outputs_dir"], tracked=tracked))

        if isinstance(data, str | Path):
            if sample_weight is not None:
                raise InputError(
                    "sample_weight",
                    expected="None where data are read from a file",
                    came=type(sample_weight).__name__,
                    remedy="Name their column: overrides=['data.weights_column=NAME'].",
                )
            lines = [*_of_name(data), *lines]
            content = composed(lines, config_dir)
            return _fitted(content, lines, folder_of(content), started, kept=bool(record), progress=progress)
        chosen = next((line for line in lines if line.startswith("data=")), None)
        if chosen is not None:
            remedy = "Leave it out, or pass the name of the spec in place of the data."
            raise InputError("data", expected="no other data beside those that are passed", came=chosen, remedy=remedy)
        table, weights_column = table_of(data, sample_weight)
        digest, held = hold(table)
        content = composed(["data=file", "data.path=passed", *lines], config_dir)
        of_table = _keys_of_table(content["data"], held, weights_column)
        folder = folder_of(content)
        if folder is None:
            content["data"] = {"_target_": FROM_PYTHON, "digest": digest, **of_table}
        else:
            given = {"path": str(write_data(folder, held)), **of_table}
            changed = {key: value for key, value in given.items() if value != content["data"][key]}
            lines = ["data=file", *overrides_of({"data": changed}), *lines]
            content["data"] |= given
        return _fitted(content, lines, folder, started, kept=bool(record), progress=progress)


def _of_name(data: str | Path) -> list[str]:
    """The overrides that choose a generating spec or a file."""
    specs = {path.stem for path in (config_directory() / "data").glob("*.yaml")} - {"file"}
    if str(data) in specs:
        return [f"data={data}"]
    return ["data=file", hydra_override("data.path", str(data))]


def _keys_of_table(of_file: Mapping[str, Any], table: PassedTable, weights_column: str | None) -> dict[str, Any]:
    """The keys of `data=file`, for a table in memory in place of a file."""
    keys = {name: of_file[name] for name in OF_TABLE}
    if weights_column is not None:
        if keys["weights_column"] is not None:
            raise InputError(
                "sample_weight",
                expected="None where data.weights_column names a column",
                came=f"both, and data.weights_column={keys['weights_column']}",
                remedy="Give the weights once.",
            )
        keys["weights_column"] = weights_column
    # Otherwise an array without a name would be called by the number of its column.
    if keys["name"] is None and table.numbered:
        keys["name"] = NAME
    return keys


def _fitted(
    content: dict[str, Any], lines: Sequence[str], folder: Path | None, started: float, *, kept: bool, progress: bool
) -> Fit:
    job = load_resolved(content)
    for doubt in note_data(job):
        warnings.warn(doubt, stacklevel=3)
    with bar("fitting", "steps") if progress else contextlib.nullcontext() as advance:
        (computed,) = compute([job], advance)
    found = answer(job, computed)
    if found.diverged:
        warnings.warn(f"The fit diverged: {divergence(job)}. Its numbers are not a result.", stacklevel=3)
    if folder is not None:
        keep(content, lines, job, found, folder, started)
    return Fit(record_of_fit(content, job, found), found.assignments, folder if kept else None)


@contextlib.contextmanager
def _settings_of_jax_kept() -> Iterator[None]:
    """Leave JAX's global settings as the caller's program has them."""
    import jax

    names = ("jax_threefry_partitionable", "jax_enable_x64")
    before = {name: jax.config.values[name] for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
