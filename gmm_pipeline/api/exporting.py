"""The bootstrap replicates of a fit as ArviZ's object; ArviZ and xarray are imported here alone.

Their group is `bootstrap`: they show how estimates vary from sample to sample, and are not draws from a posterior,
which is what ArviZ's functions look for by default. These take `group="bootstrap"`.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Int

from gmm_pipeline import extras, program
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import reported
from gmm_pipeline.records.reading import BOOTSTRAP, Record

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import Dataset, DataTree

OBSERVED = "observed_data"
KIND = "bootstrap replicates: estimates of data sets drawn with replacement; not draws from a posterior"
COMPONENT, COLUMN, OTHER, ROW = "component", "data_column", "other_data_column", "data_row"
"""Plots of ArviZ 1 have axes `column` and `row` of their own."""
SAMPLED = ("chain", "draw")
"""Axes that ArviZ expects of every sample; replicates are one chain."""
OF_COLUMNS = {"locs": (COLUMN,), "scales": (COLUMN,), "covariances": (COLUMN, OTHER), "correlations": (COLUMN, OTHER)}
"""Further axes of parameters of several columns."""


def replicates_of(run: Record, rows: Int[np.ndarray, " n"] | None) -> "DataTree | InferenceData":
    """The replicates of a record and its data, in the form of the ArviZ that is installed.

    Args:
        run: the record.
        rows: of the data, if rows were left out.

    Raises:
        InputError: there is no replicate with a sound fit, or ArviZ is not installed.
    """
    extras.require("arviz", "arviz", where="to_arviz", purpose="its objects")
    if run.replicates is None:
        raise _refused("one without")
    sound = np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in run.replicates], axis=0)
    if not sound.any():
        raise _refused(f"one whose {len(sound):,} replicates all failed")
    import arviz
    from xarray import DataTree

    tree = DataTree.from_dict({BOOTSTRAP: _parameters(run, np.flatnonzero(sound)), OBSERVED: _data(run, rows)})
    # Before its version 1, ArviZ has an object of its own.
    return cast("InferenceData", arviz.from_datatree(tree)) if hasattr(arviz, "from_datatree") else tree


def _refused(came: str) -> InputError:
    return InputError(BOOTSTRAP, expected="a fit with a bootstrap", came=came, remedy="Fit with bootstrap=200.")


def _parameters(run: Record, sound: Int[np.ndarray, " S"]) -> "Dataset":
    from xarray import Dataset

    replicates = cast(Any, run.replicates)
    values = reported(type(replicates)(*(leaf[None, sound] for leaf in replicates)))
    of_columns = OF_COLUMNS if run.columns else {}
    variables: dict[str, Any] = {
        name: ((*SAMPLED, COMPONENT, *of_columns.get(name, ())), leaf) for name, leaf in values._asdict().items()
    }
    if run.noise is not None:
        variables["noise_weight"] = (SAMPLED, 1.0 - values.weights.sum(axis=-1))
    columns = {COLUMN: list(run.columns), OTHER: list(run.columns)} if run.columns else {}
    return Dataset(
        variables,
        {"chain": [0], "draw": sound, COMPONENT: np.arange(values.weights.shape[-1]), **columns},
        {
            "kind": KIND,
            "inference_library": program.MODULE,
            "inference_library_version": program.version(),
            "n_components": values.weights.shape[-1],
            "seed": int(run.config["seed"]),
            "replicates": len(replicates.weights),
            "failed_replicates": len(replicates.weights) - len(sound),
        },
    )


def _data(run: Record, rows: Int[np.ndarray, " n"] | None) -> "Dataset":
    from xarray import Dataset

    axes, columns = ((ROW, COLUMN), {COLUMN: list(run.columns)}) if run.columns else ((ROW,), {})
    name = run.data_info.get("column")
    known = {"units": run.unit, "long_name": None if name is None else str(name)}
    variables: dict[str, Any] = {
        "data": (axes, run.data, {key: value for key, value in known.items() if value is not None})
    }
    if run.sample_weights is not None:
        variables["sample_weights"] = (ROW, run.sample_weights)
    return Dataset(variables, {ROW: np.arange(len(run.data)) if rows is None else rows, **columns})
