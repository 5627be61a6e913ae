"""Reproducible Gaussian-mixture experiments: Hydra config in, a record and MLflow runs out.

For notebooks: `load` a fitted mixture, then ask it for `density`, `log_density`, `responsibilities` and `labels` of
data, or for a `sample`; NumPy in and out. They are imported when they are first used, so that importing the package
costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmm_pipeline.fitted import density, labels, load, log_density, responsibilities, sample

__all__ = ["density", "labels", "load", "log_density", "responsibilities", "sample"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gmm_pipeline import fitted

    return getattr(fitted, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
