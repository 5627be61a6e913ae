"""scikit-learn's `GaussianMixture`, fitted by this package's search and optimizer.

A fitted estimator holds NumPy arrays, numbers, texts and one data frame, so that it pickles, and predicting compiles
nothing. The price: what a `Fit` has beyond that, such as its intervals, has to be asked of `gmm_pipeline.fit`.
"""

import re
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from gmm_pipeline import fitted
from gmm_pipeline.api.fitting import fit
from gmm_pipeline.api.results import Fit
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.model.natural import is_finite
from gmm_pipeline.model.noise import NONE
from gmm_pipeline.model.vocabulary import LARGEST_SEED
from gmm_pipeline.records.sample_weights import COUNTS, KEY, MEANINGS, counted
from gmm_pipeline.sklearn.parameters import DIAGONAL_OF, KEYS, cholesky_of_precisions, keys_of, rows_of, shaped
from gmm_pipeline.sklearn.starts import Start, overrides_for, start_of


def _no_place_for_noise(came: str) -> InputError:
    expected = "no noise component, for which scikit-learn's arrays have no place"
    return InputError("overrides", expected=expected, came=came, remedy="Use gmm_pipeline.fit.")


def _counted(weights: Float[np.ndarray, " n"] | None, overrides: Sequence[str]) -> Float[np.ndarray, " n"] | None:
    """How often each row counts, by what the overrides say that weights are."""
    said = [line.partition("=")[2] for line in overrides if line.startswith(f"{KEY}=")]
    meaning = said[-1] if said and said[-1] in MEANINGS else COUNTS  # others are refused by the fit
    return None if weights is None else counted(weights, meaning)


class GaussianMixture(DensityMixin, BaseEstimator):
    """A Gaussian mixture with the names of scikit-learn's: maximises log p(θ) + Σ_i w_i log Σ_j π_j N(x_i | μ_j, Σ_j).

    Parameters that are None are those of `conf/fit.yaml`. Not taken are `reg_covar`, since scales have a floor relative
    to those of the data (`overrides=["scale_floor=0.01"]`) and nothing is added to covariances; `init_params`, since a
    search draws starts of several kinds; and `verbose_interval`.

    Where there are no more rows than columns, `full` and `tied` covariances are diagonal, with a warning.

    Args:
        n_components: K, or `auto` for the number with the best BIC.
        covariance_type: `full`, `tied`, `diag` or `spherical`, one of mclust's names, EII to VVV, `factor` (with
            `overrides=["factors=2"]`), or `auto` for the model with the best BIC.
        tol: the fit may stop when a step gains less than this, in nats per observation, and the gradient is short too;
            0 never stops.
        max_iter: most steps of the optimizer.
        n_init: independent searches for the best optimum.
        weights_init: [K], where the only start begins, with `means_init`; there is no search then.
        means_init: [K, d], where the only start begins; there is no search then.
        precisions_init: in the shape of `precisions_`, where the only start begins, with `means_init`.
        random_state: an int is the config's seed; a RandomState draws one; None fits with the seed of the config, so
            that the answer is the same each time, and draws samples from NumPy's global state.
        warm_start: begin where the last fit ended, without a search.
        verbose: whether there is a progress bar, on a terminal or in a notebook.
        prior: name of a prior in `conf/prior`; flat is maximum likelihood, as scikit-learn's is.
        overrides: of the config, in the command line's grammar, such as `optimizer=squarem`; they win, except
            those of `init` where a start is given.

    Attributes:
        weights_: [K], of sum 1.
        means_: [K, d].
        covariances_: tied [d, d], diag [K, d], spherical [K], all others [K, d, d].
        precisions_: inverses of the covariances, in the same shape.
        precisions_cholesky_: U with U Uᵀ = Σ⁻¹, in the same shape.
        converged_: whether the fit stopped by its tolerances.
        n_iter_: steps of the optimizer; 0 where the answer is the search's own optimum.
        lower_bound_: log-likelihood of the data, in nats per observation.
        n_components_: K, which `auto` chose.
        covariance_model_: by mclust's name; E or V of one column.
        n_parameters_: free parameters of the mixture, as BIC counts them.
        standard_errors_: of weights, locs and scales; of several columns also of covariances and correlations.
        hit_rate_: share of the starts, or of independent searches, that reached the best optimum.
        selection_: candidates that were compared, as a data frame; None if there was nothing to choose.
        verdict_: how far the answer can be trusted, in clauses; problems come first.
        metrics_: as a record's `metrics.json` has them.
        mixture_: weights, locs, and scales of one column or covariances of several.
        n_features_in_: d.
        feature_names_in_: names of the columns, if X had them.
    """

    def __init__(
        self,
        n_components: Any = 1,
        *,
        covariance_type: str = "full",
        tol: float | None = None,
        max_iter: int | None = None,
        n_init: int | None = None,
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        prior: str = "flat",
        overrides: Sequence[str] = (),
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.prior = prior
        self.overrides = overrides

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "GaussianMixture":  # noqa: N803 - scikit-learn's name
        """Fit the mixture.

        Args:
            X: [n, d] finite numbers.
            y: not used.
            sample_weight: [n], how often each row counts, unless `overrides` say `data.weights_are=shares` or
                `precision`; None for once each.

        Raises:
            InputError: X or a parameter cannot be used. It is a ValueError.
            RunFailed: the fit diverged.
        """
        data: Any = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        counts = None
        if sample_weight is not None:
            counts = column_or_1d(sample_weight, dtype=np.float64)
            check_consistent_length(data, counts)
            if not counts.any():
                remedy = "A sample weight says how often a row counts."
                raise InputError("sample_weight", expected="some that are not zero", came="only zeros", remedy=remedy)
        lines = list(self.overrides)
        for line in lines:
            if line.startswith("noise=") and line != f"noise={NONE}":
                raise _no_place_for_noise(line)
        given, counts = counts, _counted(counts, lines)
        keys, start = self._keys(data, counts), self._start(data.shape[1])
        if start is not None:
            others = [line for line in lines if not line.startswith(("init=", "init."))]
            lines = [*overrides_for(start, data, counts, self.n_components), *others]
        try:
            found = fit(
                data if data.shape[1] > 1 else data[:, 0],
                sample_weight=given,
                overrides=lines,
                progress=bool(self.verbose),
                **keys,
            )
        except InputError as error:
            raise self._by_own_name(error) from error
        return self._keep(found)

    def _keys(self, data: Float[np.ndarray, "n d"], counts: Float[np.ndarray, " n"] | None) -> dict[str, Any]:
        """Keywords of `gmm_pipeline.fit`."""
        kind = self._covariance_type(len(data) if counts is None else int(np.count_nonzero(counts)), data.shape[1])
        keys = {"prior": self.prior, **keys_of(self.n_components, kind, data.shape[1])}
        if self.tol is not None:
            if not (isinstance(self.tol, Real) and 0.0 <= self.tol < np.inf):
                remedy = "Leave it out to use the default."
                raise InputError("tol", expected="a finite number, 0 or more", came=repr(self.tol), remedy=remedy)
            keys["tolerance"] = self.tol * float(len(data) if counts is None else counts.sum())
        if self.max_iter is not None:
            keys["steps"] = self.max_iter
        if self.n_init is not None:
            keys["restarts"] = self.n_init
        if self.random_state is not None:
            keys["seed"] = self._seed()
        return keys

    def _covariance_type(self, n_rows: int, n_columns: int) -> Any:
        """That of the fit: rows that do not outnumber the columns determine no full covariance."""
        kind = self.covariance_type
        if n_rows > n_columns or kind not in DIAGONAL_OF:
            return kind
        warnings.warn(
            f"{n_rows} rows of {n_columns} columns do not determine covariances of the type {kind!r}. "
            f"Diagonal ones are fitted in their place, the model {DIAGONAL_OF[kind]}.",
            stacklevel=4,
        )
        return DIAGONAL_OF[kind]

    def _seed(self) -> Any:
        if isinstance(self.random_state, int | np.integer):
            return self.random_state
        return int(check_random_state(self.random_state).randint(LARGEST_SEED, dtype=np.uint32))

    def _start(self, n_columns: int) -> Start | None:
        if self.warm_start and hasattr(self, "mixture_"):
            return Start(*rows_of(self.mixture_))
        return start_of(
            self.weights_init,
            self.means_init,
            self.precisions_init,
            covariance_type=self.covariance_type,
            n_columns=n_columns,
        )

    def _by_own_name(self, error: InputError) -> InputError:
        """The same message about the parameter that was set, if one set the key."""
        for parameter, key in KEYS.items():
            if error.where == key and getattr(self, parameter) is not None:
                remedy = re.sub(rf"\b{key}\b", parameter, error.remedy)
                return InputError(parameter, expected=error.expected, came=error.came, remedy=remedy)
        return error

    def _keep(self, found: Fit) -> "GaussianMixture":
        metrics = found.metrics
        if found.noise is not None:
            raise _no_place_for_noise(f"noise={found.config['noise']}")
        mixture: Any = found.mixture
        if not (is_finite(mixture) and np.isfinite(metrics["loss"])):
            raise RunFailed("The fit diverged. Another seed, prior or optimizer may help.")
        self.mixture_, rows = mixture, rows_of(mixture)
        factors = cholesky_of_precisions(rows.covariances)
        self.weights_, self.means_ = rows.weights, rows.locs
        self.covariances_ = shaped(rows.covariances, self.covariance_type)
        self.precisions_ = shaped(factors @ factors.swapaxes(1, 2), self.covariance_type)
        self.precisions_cholesky_ = shaped(factors, self.covariance_type)
        self.converged_ = found.converged
        self.n_iter_ = int(metrics["n_steps"])
        self.lower_bound_ = float(metrics["log_likelihood"] / metrics.get("sum_of_weights", metrics["n_data"]))
        self.n_components_ = len(rows.weights)
        self.covariance_model_ = found.covariance_model
        self.n_parameters_ = int(metrics["n_parameters"])
        self.standard_errors_ = found.standard_errors
        self.hit_rate_ = metrics["hit_rate"]
        self.selection_ = found.selection
        self.verdict_ = found.verdict
        self.metrics_ = metrics
        if not self.converged_:
            warnings.warn(
                f"The fit did not converge in {self.n_iter_} steps. Increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Int[np.ndarray, " n"]:  # noqa: N803
        """Fit the mixture, and label its data.

        Args:
            X: [n, d] finite numbers.
            y: not used.
            sample_weight: how often each row counts, [n]; None for once each.
        """
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:  # noqa: N803
        """The most probable component of each row.

        Args:
            X: [n, d] finite numbers.
        """
        return fitted.labels(self._fitted(), self._data(X))

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n K"]:  # noqa: N803
        """Probability that each component made each row.

        Args:
            X: [n, d] finite numbers.
        """
        return fitted.responsibilities(self._fitted(), self._data(X))

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:  # noqa: N803
        """Log density of each row, in nats.

        Args:
            X: [n, d] finite numbers.
        """
        return fitted.log_density(self._fitted(), self._data(X))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803  # pyright: ignore[reportIncompatibleMethodOverride]
        """Mean log density of the rows, in nats.

        Args:
            X: [n, d] finite numbers.
            y: not used.
        """
        return float(self.score_samples(X).mean())

    def bic(self, X: Any) -> float:  # noqa: N803
        """Bayesian information criterion, p log n − 2 Σ_i log p(x_i); lower is better.

        Args:
            X: [n, d] finite numbers.
        """
        log_densities = self.score_samples(X)
        return float(self.n_parameters_ * np.log(len(log_densities)) - 2.0 * log_densities.sum())

    def aic(self, X: Any) -> float:  # noqa: N803
        """Akaike's information criterion, 2 p − 2 Σ_i log p(x_i); lower is better.

        Args:
            X: [n, d] finite numbers.
        """
        return float(2.0 * self.n_parameters_ - 2.0 * self.score_samples(X).sum())

    def sample(self, n_samples: int = 1) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """Independent draws, and the component of each.

        Args:
            n_samples: how many, 1 or more.

        Raises:
            InputError: it is not a whole number of 1 or more.
        """
        mixture = self._fitted()
        if not (isinstance(n_samples, int | np.integer) and n_samples >= 1):
            came = repr(n_samples)
            raise InputError("n_samples", expected="a whole number, 1 or more", came=came, remedy="Use n_samples=100.")
        seed = int(check_random_state(self.random_state).randint(LARGEST_SEED, dtype=np.uint32))
        drawn, components = fitted.draws(mixture, n_samples, seed)
        return drawn.reshape(n_samples, -1), components

    def _fitted(self) -> Any:
        check_is_fitted(self)
        return self.mixture_

    def _data(self, X: Any) -> Float[np.ndarray, "n ..."]:  # noqa: N803
        """Data as the functions of a fitted mixture take them: of one column, in one dimension."""
        data: Any = validate_data(self, X, dtype=np.float64, reset=False)
        return data if data.shape[1] > 1 else data[:, 0]
