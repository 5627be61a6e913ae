"""A scikit-learn estimator: `from gmm_pipeline.sklearn import GaussianMixture` in place of scikit-learn's own.

| step | module |
| --- | --- |
| parameters and X → keywords of `gmm_pipeline.fit`, and back | `parameters` |
| where a fit starts, if that is given | `starts` |
| the estimator | `estimator` |
"""

try:
    import sklearn as _sklearn  # noqa: F401 - the message names the extra
except ImportError as error:
    from gmm_pipeline import extras

    raise ImportError(f"gmm_pipeline.sklearn needs scikit-learn. {extras.to_install('scikit-learn')}") from error

from gmm_pipeline.sklearn.estimator import GaussianMixture

__all__ = ["GaussianMixture"]
