"""`gmm_pipeline.fit`: the command `fit` without its folder."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gmm_pipeline.analysis.answers import Answer, answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.api.bars import bar
from gmm_pipeline.api.composing import composed, listed, overrides_of
from gmm_pipeline.api.given import given
from gmm_pipeline.api.keeping import keep, place, tracker_of
from gmm_pipeline.api.results import Fit
from gmm_pipeline.records import artifacts
from gmm_pipeline.stages.fit import compute, note_data
from gmm_pipeline.stages.loading import load_resolved
from gmm_pipeline.stages.recording import divergence, record_of_fit


def fit(
    data: Any,
    *,
    sample_weight: Any = None,
    weights_are: str | None = None,
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
            table, or anything with `__arrow_c_stream__`, `__dataframe__` or `__array__`. Also what `simulate` drew,
            the path of a file, or the name of a generating spec in `conf/data`, such as `two_modes`.
        sample_weight: [n], not negative; None for one each.
        weights_are: what `sample_weight` means: `counts`, how often each datum counts; `shares`, relative frequencies;
            `precision`, how much each is to be trusted. None for what the config says, counts.
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
    started, lines = time.perf_counter(), [*overrides_of(keys), *listed(overrides)]
    with settings_of_jax_kept():
        passed = given(data, sample_weight, lines, weights_are, config_dir)
        content = composed([*passed.overrides, *lines], config_dir)
        for doubt in passed.unread(content):
            warnings.warn(doubt, stacklevel=2)
        tracker = tracker_of(content["tracking"], lines)
        parent = Path(content["outputs_dir"]) / "fit"
        with place(record, parent, artifacts.RECORD, tracked=tracker is not None) as folder:
            content, chosen = (passed.amend(content), []) if folder is None else passed.store(content, folder)
            job, found = _fitted(content, progress)
            if folder is not None:
                keep(content, [*chosen, *lines], job, found, folder, tracker, started)
            return Fit(record_of_fit(content, job, found), found.assignments, folder if record else None)


def _fitted(content: dict[str, Any], progress: bool) -> tuple[Job, Answer]:
    job = load_resolved(content)
    for doubt in note_data(job):
        warnings.warn(doubt, stacklevel=3)
    with bar("fitting", "steps") if progress else contextlib.nullcontext() as advance:
        (computed,) = compute([job], content["execution"], advance)
    found = answer(job, computed)
    if found.diverged:
        warnings.warn(f"The fit diverged: {divergence(job)}. Its numbers are not a result.", stacklevel=3)
    return job, found


@contextlib.contextmanager
def settings_of_jax_kept() -> Iterator[None]:
    """Leave JAX's global settings as the caller's program has them."""
    import jax

    names = ("jax_threefry_partitionable", "jax_enable_x64")
    before = {name: jax.config.values[name] for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
