"""`gmm_pipeline.fit`: the command `fit` without its folder."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gmm_pipeline.analysis.answers import answer
from gmm_pipeline.api.composing import composed, overrides_of
from gmm_pipeline.api.results import Fit
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.errors import InputError
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.records.passed import NAME, hold, table_of
from gmm_pipeline.records.tables import PassedTable
from gmm_pipeline.stages.fit import compute, note_data
from gmm_pipeline.stages.loading import load_resolved
from gmm_pipeline.stages.recording import divergence
from gmm_pipeline.stages.terminal import progress_bar

FROM_PYTHON = "gmm_pipeline.records.passed.from_python"
OF_TABLE = ("column", "columns", "weights_column", "missing", "missing_codes", "truth", "name", "unit")
"""Keys of `data=file` that a table in memory has too."""


def fit(
    data: Any,
    *,
    sample_weight: Any = None,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    progress: bool = False,
    **keys: Any,
) -> Fit:
    """Fit a Gaussian mixture: maximise log p(θ) + Σ_i w_i log Σ_j π_j N(x_i | μ_j, Σ_j), by search and optimizer.

    The config is composed and checked as that of `python -m gmm_pipeline fit`, and the same engine computes it, so that
    the same config and data give the same bits. Nothing is written or tracked.

    Args:
        data: [n] numbers, or [n, d] of d columns: an array, lists, a Series, a data frame of pandas or Polars, an Arrow
            table, or anything with `__arrow_c_stream__`, `__dataframe__` or `__array__`. Also the path of a file, or
            the name of a generating spec in `conf/data`, such as `two_modes`.
        sample_weight: how often each datum counts, [n]; None for once each.
        overrides: in the command line's grammar, such as `optimizer.learning_rate=0.05`.
        config_dir: folder with YAML files of your own, as for `--config-dir`.
        progress: show a progress bar, on a terminal.
        **keys: any key of `fit`, such as `n_components="auto"`, `prior="flat"` or `covariance="tied"`; a mapping sets
            the keys below one, as in `optimizer={"learning_rate": 0.05}`. Keys of data, which have a name of their own
            here, are overrides: `overrides=["data.missing=drop", "data.unit=minutes"]`. Those of pictures, tracking
            and folders have no effect.

    Raises:
        InputError: data or a key cannot be used. It is a ValueError.
    """
    lines = [*overrides_of(keys), *overrides]
    with _settings_of_jax_kept():
        if isinstance(data, str | Path):
            if sample_weight is not None:
                raise InputError(
                    "sample_weight",
                    expected="None where data are read from a file",
                    came=type(sample_weight).__name__,
                    remedy="Name their column: overrides=['data.weights_column=NAME'].",
                )
            content = composed([*_of_name(data), *lines], config_dir)
            return _fitted(content, progress)
        chosen = next((line for line in lines if line.startswith("data=")), None)
        if chosen is not None:
            remedy = "Leave it out, or pass the name of the spec in place of the data."
            raise InputError("data", expected="no other data beside those that are passed", came=chosen, remedy=remedy)
        table, weights_column = table_of(data, sample_weight)
        digest, held = hold(table)
        content = composed(["data=file", "data.path=passed", *lines], config_dir)
        content["data"] = _node(content["data"], digest, held, weights_column)
        return _fitted(content, progress)


def _of_name(data: str | Path) -> list[str]:
    """The overrides that choose a generating spec or a file."""
    specs = {path.stem for path in (config_directory() / "data").glob("*.yaml")} - {"file"}
    if str(data) in specs:
        return [f"data={data}"]
    return ["data=file", hydra_override("data.path", str(data))]


def _node(of_file: Mapping[str, Any], digest: str, table: PassedTable, weights_column: str | None) -> dict[str, Any]:
    """The data of a config, for a table in memory in place of a file."""
    node = {name: of_file[name] for name in OF_TABLE}
    if weights_column is not None:
        if node["weights_column"] is not None:
            raise InputError(
                "sample_weight",
                expected="None where data.weights_column names a column",
                came=f"both, and data.weights_column={node['weights_column']}",
                remedy="Give the weights once.",
            )
        node["weights_column"] = weights_column
        # Otherwise an array without a name would be called by the number of its column.
        node["name"] = NAME if node["name"] is None and table.numbered else node["name"]
    return {"_target_": FROM_PYTHON, "digest": digest, **node}


def _fitted(content: dict[str, Any], progress: bool) -> Fit:
    job = load_resolved(content)
    for doubt in note_data(job):
        warnings.warn(doubt, stacklevel=3)
    with progress_bar("fitting", "steps") if progress else contextlib.nullcontext() as advance:
        (computed,) = compute([job], advance)
    found = answer(job, computed)
    if found.diverged:
        warnings.warn(f"The fit diverged: {divergence(job)}. Its numbers are not a result.", stacklevel=3)
    return Fit(content, job, found)


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
