"""Reproducible Gaussian-mixture experiments: Hydra config in, a record and MLflow runs out.

From Python: `fit` data in memory, `sweep` values of keys, `simulate` data, `load` an earlier fit; ask a fit for errors,
labels and pictures, or for its `density`, `log_density`, `responsibilities` and `labels` at data, or for a `sample`.
These are imported when they are
first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmm_pipeline.api.fitting import fit
    from gmm_pipeline.api.loading import load
    from gmm_pipeline.api.results import Fit
    from gmm_pipeline.api.simulated import Simulated
    from gmm_pipeline.api.simulating import simulate
    from gmm_pipeline.api.sweeping import sweep
    from gmm_pipeline.api.sweeps import FailedRun, Sweep
    from gmm_pipeline.errors import InputError
    from gmm_pipeline.fitted import density, labels, log_density, responsibilities, sample

_PLACES = {
    "FailedRun": "gmm_pipeline.api.sweeps",
    "Fit": "gmm_pipeline.api.results",
    "InputError": "gmm_pipeline.errors",
    "Simulated": "gmm_pipeline.api.simulated",
    "Sweep": "gmm_pipeline.api.sweeps",
    "simulate": "gmm_pipeline.api.simulating",
    "fit": "gmm_pipeline.api.fitting",
    "load": "gmm_pipeline.api.loading",
    "sweep": "gmm_pipeline.api.sweeping",
    **dict.fromkeys(("density", "labels", "log_density", "responsibilities", "sample"), "gmm_pipeline.fitted"),
}

__all__ = [
    "FailedRun",
    "Fit",
    "InputError",
    "Simulated",
    "Sweep",
    "density",
    "fit",
    "labels",
    "load",
    "log_density",
    "responsibilities",
    "sample",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from gmm_pipeline import program

        return program.version()
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
