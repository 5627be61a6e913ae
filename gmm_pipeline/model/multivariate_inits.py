"""Where a fit of several columns starts: mixtures in natural parameters, from data as the fit sees them.

The functions in `inits.py` call these for data of several columns. All components begin with one covariance, which
every covariance model contains or narrows down.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model.incomplete import filled
from gmm_pipeline.model.natural import MultivariateMixture, factor_of, mean_and_covariance
from gmm_pipeline.model.outliers import without_outliers

Array = np.ndarray


class Cloud(NamedTuple):
    """Data of positive weight in float64, with what starts need to know of them."""

    data: Float[Array, "n d"]
    """With expectations of missing values: starts need not be exact."""
    counts: Float[Array, " n"]
    centre: Float[Array, " d"]
    covariance: Float[Array, "d d"]

    @classmethod
    def of(cls, data: Any, sample_weights: Any) -> "Cloud":
        """Leave out data of weight 0.

        Args:
            data: x, [n, d], NaN where a value is missing.
            sample_weights: c, [n], how often each datum counts.
        """
        counts = np.asarray(sample_weights, np.float64)
        values, counts = np.asarray(data, np.float64)[counts > 0], counts[counts > 0]
        centre, covariance = mean_and_covariance(values, without_outliers(values, counts))
        return cls(filled(values, centre, covariance), counts, centre, covariance)

    def drawn(self, uniforms: Float[Array, "*S"]) -> Float[Array, "*S d"]:
        """Data drawn with probability proportional to their weights, one for each uniform number."""
        up_to = np.cumsum(self.counts)
        index = np.searchsorted(up_to, uniforms * up_to[-1], side="right")
        return self.data[np.minimum(index, len(self.data) - 1)]

    def coordinates(self) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        """The data standardised by column, and whitened."""
        centred = self.data - self.centre
        factor = factor_of(self.covariance)
        return centred / np.sqrt(np.diagonal(self.covariance)), np.linalg.solve(factor, centred.T).T


def seeds(
    uniforms: Float[Array, " K"], coordinates: Float[Array, "n d"], counts: Float[Array, " n"]
) -> tuple[Int[Array, " n"], Int[Array, " K"]]:
    """k-means++ seeding (Arthur & Vassilvitskii 2007): the nearest seed of each datum, and which data are seeds.

    Args:
        uniforms: on [0, 1), decide the seeds.
        coordinates: in which distances are taken.
        counts: c, how often each datum counts.
    """
    distances, nearest = np.full(len(coordinates), np.inf), np.zeros(len(coordinates), int)
    centres, shares = np.zeros(len(uniforms), int), counts
    for component, uniform in enumerate(uniforms):
        up_to = np.cumsum(shares)
        if not up_to[-1] > 0.0:  # fewer distinct data than components
            up_to = np.cumsum(counts)
        centres[component] = min(np.searchsorted(up_to, uniform * up_to[-1], side="right"), len(counts) - 1)
        new = ((coordinates - coordinates[centres[component]]) ** 2).sum(axis=1)
        nearest[new < distances] = component
        distances = np.minimum(distances, new)
        shares = counts * distances
    return nearest, centres


def of_partition(
    nearest: Int[Array, " n"], cloud: Cloud, n_components: int, narrowest: float
) -> tuple[Float[Array, " K"], Float[Array, "d d"]]:
    """Weights of the parts of the data, and the covariance within parts.

    Args:
        nearest: the part of each datum.
        cloud: the data.
        n_components: K.
        narrowest: share of the data's spread that is added to the covariance, which may have none of its own.
    """
    totals = np.bincount(nearest, cloud.counts, n_components)
    sums = np.stack([np.bincount(nearest, cloud.counts * column, n_components) for column in cloud.data.T], axis=1)
    centred = cloud.data - (sums / np.maximum(totals, 1e-300)[:, None])[nearest]
    within = (centred * (cloud.counts / cloud.counts.sum())[:, None]).T @ centred
    # One more datum in each part keeps the log weight of an empty one finite.
    shares = (totals + 1.0) / (totals + 1.0).sum()
    return shares, within + narrowest**2 * cloud.covariance


def clustered(uniforms: Float[Array, " L"], cloud: Cloud, *, smallest_scale: float) -> MultivariateMixture:
    """Locs at k-means++ seeds, in coordinates that are standardised or whitened by chance; one covariance within parts.

    Args:
        uniforms: K + 1 numbers on [0, 1): the first decides the coordinates, the others the seeds.
        cloud: the data.
        smallest_scale: least spread of a component, as a share of the data's.
    """
    coordinates = cloud.coordinates()[int(uniforms[0] < 0.5)]
    nearest, centres = seeds(uniforms[1:], coordinates, cloud.counts)
    weights, within = of_partition(nearest, cloud, len(centres), smallest_scale)
    return MultivariateMixture(weights, cloud.data[centres], np.broadcast_to(within, (len(centres), *within.shape)))


def scattered(
    of_locs: Float[Array, " K"], of_scales: Float[Array, " K"], cloud: Cloud, *, narrowest: float
) -> MultivariateMixture:
    """Locs at data drawn at random; covariances of the shape of all data's, of sizes drawn evenly in their logarithm.

    Args:
        of_locs: on [0, 1), decide the locs.
        of_scales: on [0, 1), decide the sizes.
        cloud: the data.
        narrowest: the least size, as a share of the data's spread.
    """
    sizes = np.exp(2.0 * np.log(narrowest) * of_scales)
    equal = np.full(len(of_locs), 1.0 / len(of_locs))
    return MultivariateMixture(equal, cloud.drawn(of_locs), sizes[:, None, None] * cloud.covariance)


def spread_out(uniforms: Float[Array, " K"], cloud: Cloud, *, jitter: float, overlap: float) -> MultivariateMixture:
    """Locs along the direction in which the data vary most, at evenly spread quantiles; one covariance.

    Args:
        uniforms: on [0, 1), decide the jitter.
        cloud: the data.
        jitter: 0 for none, 1 for anywhere in the component's share.
        overlap: a component is as wide as the data along the direction, times this over K.
    """
    n_components = len(uniforms)
    standardised = cloud.coordinates()[0]
    weights = cloud.counts / cloud.counts.sum()
    variances, directions = np.linalg.eigh((standardised * weights[:, None]).T @ standardised)
    direction = directions[:, -1]
    along = standardised @ direction
    order = np.argsort(along, kind="stable")
    levels = (np.arange(n_components) + 0.5 + jitter * (uniforms - 0.5)) / n_components
    up_to = np.cumsum(weights[order])
    at = np.interp(levels, up_to - 0.5 * weights[order], along[order])
    by_column = np.sqrt(np.diagonal(cloud.covariance))
    locs = cloud.centre + at[:, None] * direction * by_column
    # Narrower along the direction, so that components differ; as wide as the data across it.
    rest = 1.0 - min(1.0, overlap / n_components) ** 2
    factor = np.sqrt(variances[-1]) * direction * by_column
    within = cloud.covariance - 0.999 * rest * np.outer(factor, factor)
    equal = np.full(n_components, 1.0 / n_components)
    return MultivariateMixture(equal, locs, np.broadcast_to(within, (n_components, *within.shape)))
