"""A noise component, uniform over a volume around the data (Banfield & Raftery 1993; Fraley & Raftery 2002).

The density is p(x) = w₀/V + Σ_k w_k N(x | μ_k, Σ_k), with w₀ + Σ_k w_k = 1 and V fixed by the data. A fit keeps log
odds against the noise where it keeps log weights otherwise, l_k = log(w_k / w₀), so that the direction which is
redundant without noise carries its weight: w₀ = 1 / (1 + Σ_k exp l_k). Nothing else of its parameters changes. The
density of the noise is 1/V beyond the volume too: a datum far from everything belongs to the noise.

NumPy only, so that reading records does not import JAX.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from gmm_pipeline.model.natural import LEAST_CORRELATED, AnyMixture

NONE, BOX, HULL = KINDS = ("none", "box", "hull")
MOST_COLUMNS_OF_A_HULL = 8
"""The number of facets, and so time and memory, grows like n to the power d / 2."""
LABEL = -1
"""Label of a datum that most probably is noise."""
P = TypeVar("P")


class Noise(NamedTuple):
    """The noise component of a mixture, in the units of the data."""

    weight: float
    log_density: float
    """−log V."""
    standard_error: float = np.nan
    """Of the weight, with the ends of its interval: from the bootstrap where there is one, else from the observed
    information; NaN where that is undefined, or where the noise has less than one datum."""
    lower: float = np.nan
    upper: float = np.nan

    @property
    def log_joint(self) -> float:
        """Its log joint density with any datum: log w₀ − log V, in nats."""
        with np.errstate(divide="ignore"):
            return float(np.log(self.weight) + self.log_density)


class NoisyMixture(NamedTuple):
    """A mixture with a noise component, as notebooks and predictions see it."""

    components: AnyMixture
    """Their weights sum to one less that of the noise."""
    noise: Noise

    @property
    def weights(self) -> Float[np.ndarray, " K"]:
        """Of the components."""
        return self.components.weights

    @property
    def locs(self) -> Float[np.ndarray, " K"] | Float[np.ndarray, "K d"]:
        """Of the components."""
        return self.components.locs

    @property
    def scales(self) -> Float[np.ndarray, " K"] | Float[np.ndarray, "K d"]:
        """Of the components."""
        return self.components.scales

    def __getattr__(self, name: str) -> Any:
        """`covariances` and `correlations` of the components, where they have several columns."""
        return getattr(self.components, name)


def noisy(mixture: AnyMixture, noise: Noise | None) -> Any:
    """The mixture, with its noise if there is any.

    Args:
        mixture: of the components.
        noise: None without noise.
    """
    return mixture if noise is None else NoisyMixture(mixture, noise)


def parts(mixture: Any) -> tuple[AnyMixture, float | None]:
    """The components, and the log joint density of the noise and any datum; None without noise.

    Args:
        mixture: with or without noise.
    """
    return (mixture.components, mixture.noise.log_joint) if isinstance(mixture, NoisyMixture) else (mixture, None)


def log_volume(data: Float[np.ndarray, "n ..."], kind: str) -> float:
    """Logarithm of the volume of a box around the data, or of their convex hull.

    The box is the smaller of two: along the columns, and along the principal components of the standardised columns
    (mclust's `hypvol`, whose principal components are those of the columns as they are: here units do not matter).

    Args:
        data: x, [n] or [n, d], each column with two values or more.
        kind: `BOX` or `HULL`.

    Raises:
        ValueError: the data have no hull of positive volume.
    """
    if data.ndim == 1:
        return float(np.log(np.ptp(data)))
    scales = data.std(axis=0)
    standardised = (data - data.mean(axis=0)) / scales
    return float(np.log(scales).sum()) + (_log_hull(standardised) if kind == HULL else _log_box(standardised))


def _log_box(standardised: Float[np.ndarray, "n d"]) -> float:
    along_columns = float(np.log(np.ptp(standardised, axis=0)).sum())
    eigenvalues, directions = np.linalg.eigh(standardised.T @ standardised / len(standardised))
    if eigenvalues[0] <= LEAST_CORRELATED:
        return along_columns
    return min(along_columns, float(np.log(np.ptp(standardised @ directions, axis=0)).sum()))


def _log_hull(standardised: Float[np.ndarray, "n d"]) -> float:
    from scipy.spatial import ConvexHull, QhullError

    try:
        return float(np.log(ConvexHull(standardised).volume))
    except QhullError as error:
        raise ValueError("their convex hull has no volume") from error


def log_odds_against(log_odds: Any) -> Float[np.ndarray, "*S"]:
    """Log odds of all components together against the noise: log((1 − w₀) / w₀) = log Σ_k exp l_k.

    Args:
        log_odds: l, [..., K], of a fit with noise.
    """
    with np.errstate(all="ignore"):  # a diverged fit is not finite, and is returned as such
        return np.asarray(np.logaddexp.reduce(np.asarray(log_odds, np.float64), axis=-1))


def weight_of_noise(log_odds: Any) -> Float[np.ndarray, "*S"]:
    """w₀ = 1 / (1 + Σ_k exp l_k).

    Args:
        log_odds: l, [..., K], of a fit with noise.
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, log_odds_against(log_odds))))


def share_of_components(log_odds: Any) -> Float[np.ndarray, "*S"]:
    """1 − w₀, without cancellation.

    Args:
        log_odds: l, [..., K], of a fit with noise.
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds_against(log_odds))))


@np.errstate(invalid="ignore", over="ignore")
def counts_of(log_weights: Float[np.ndarray, "*S K"], total: float, *, noise: bool) -> Float[np.ndarray, "*S K"]:
    """Expected number of data of each component, n w_k.

    Args:
        log_weights: of components, up to a constant; or their log odds, where there is noise.
        total: n, the sum of the sample weights.
        noise: whether there is noise, whose share belongs to no component.
    """
    relative = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    counts = total * relative / relative.sum(axis=-1, keepdims=True)
    return counts * share_of_components(log_weights)[..., None] if noise else counts


def with_odds(parameters: P, together: Any) -> P:
    """The same components, with other log odds of all together against the noise.

    Args:
        parameters: of any family, with log weights or log odds.
        together: log((1 − w₀) / w₀), for the leading axes.
    """
    log_weights = np.asarray(parameters.log_component_weights, np.float64)  # pyright: ignore[reportAttributeAccessIssue]
    shift = np.asarray(together) - np.logaddexp.reduce(log_weights, axis=-1)
    moved = log_weights + shift[..., None]
    return parameters._replace(log_component_weights=moved)  # pyright: ignore[reportAttributeAccessIssue]
