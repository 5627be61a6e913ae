"""Places where the data lie closer together than a mixture has them, for components that a search has not found.

A search sees some rows of many, and inserts components at a few of these, drawn at random: a group of a few in a
thousand is hardly ever among them. Here the density at each of some rows is estimated from their nearest neighbours
among all (Loftsgaarden & Quesenberry 1965), and compared with that of a mixture: a group that it lacks stands out by
far. In whitened coordinates, so that the places do not depend on the units of the columns.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.inference.families.compared import log_densities
from gmm_pipeline.inference.search_moves import weights_of
from gmm_pipeline.model.covariances import Kind
from gmm_pipeline.model.multivariate import MultivariateParameters, constrain_multivariate, parameters_of
from gmm_pipeline.model.multivariate_inits import Cloud
from gmm_pipeline.model.natural import MultivariateMixture

MOST_ROWS, AT_ONCE = 4096, 256
"""Rows at which the density is estimated, and how many at once."""
LEAST = 1e-6
"""Squared distance in whitened coordinates that float32 tells from none."""
MOST_PLACES, MOST_REMOVED = 3, 2
"""Places of a mixture, and components that are tried to be removed for each."""


class Neighbours(NamedTuple):
    """Data, and how dense they are at some rows by the nearest neighbours of these."""

    cloud: Cloud
    coordinates: Float[np.ndarray, "n d"]
    """Whitened."""
    at: Int[np.ndarray, " q"]
    """The rows."""
    n_nearest: int
    """Neighbours of a row, itself among them: twice as many as a covariance needs."""
    log_density: Float[np.ndarray, " q"]
    """Of the data there, in their own units."""
    kind: Kind
    """How components are represented."""

    def of(self, place: int) -> Int[np.ndarray, " m"]:
        """The neighbours of one of the rows."""
        distances = ((self.coordinates - self.coordinates[self.at[place]]) ** 2).sum(axis=1)
        return np.argpartition(distances, self.n_nearest - 1)[: self.n_nearest]

    @np.errstate(divide="ignore", invalid="ignore")
    def denser(self, mixture: MultivariateParameters, model: str) -> list[MultivariateParameters]:
        """Copies of a mixture, with one of its least needed components moved to where the data are densest beside it.

        Args:
            mixture: [K], without noise or loadings.
            model: the covariance model, which decides what the component keeps of its covariance.
        """
        cloud = self.cloud
        n_components, d = mixture.component_mus.shape
        joint = log_densities(mixture, cloud.data) + np.log(weights_of(mixture))[:, None]
        highest = joint.max(axis=0)
        shares = np.exp(joint - highest)
        log_density = highest + np.log(shares.sum(axis=0)) - 0.5 * d * np.log(2.0 * np.pi)
        needed = -np.log(np.maximum(1.0 - shares / shares.sum(axis=0), 1e-6)) @ cloud.counts
        excess, natural = self.log_density - log_density[self.at], constrain_multivariate(mixture)
        found = []
        for _ in range(MOST_PLACES):
            place = int(np.argmax(excess))
            if not excess[place] > 0.0:
                break
            rows = self.of(place)
            excess[np.isin(self.at, rows)] = -np.inf
            counts = cloud.counts[rows]
            centre = np.average(cloud.data[rows], axis=0, weights=counts)
            away = cloud.data[rows] - centre
            within = (away * (counts / counts.sum())[:, None]).T @ away + 1e-3 * cloud.covariance
            weight = counts.sum() / cloud.counts.sum()
            for out in np.argsort(needed)[:MOST_REMOVED] if n_components > 1 else ():
                weights, locs, covariances = (np.array(leaf, np.float64) for leaf in natural)
                weights[out] = 0.0
                weights *= (1.0 - weight) / weights.sum()
                weights[out], locs[out] = weight, centre
                covariances[out] = _as_shared(covariances[out], within, model)
                found.append(parameters_of(MultivariateMixture(weights, locs, covariances), self.kind))
        return found


def _as_shared(own: Float[np.ndarray, "d d"], wanted: Float[np.ndarray, "d d"], model: str) -> Float[np.ndarray, "d d"]:
    """The covariance that is wanted, as far as components do not share it: they would be averaged."""
    volume, shape, _ = model
    if volume == "E":
        return own
    if shape != "E":
        return wanted
    (_, of_own), (_, of_wanted) = np.linalg.slogdet(own), np.linalg.slogdet(wanted)
    return own * np.exp((of_wanted - of_own) / len(own))


@np.errstate(divide="ignore", invalid="ignore")
def neighbours(data: np.ndarray, sample_weights: np.ndarray, *, kind: Kind) -> Neighbours:
    """Look for the neighbours of evenly spread rows.

    Args:
        data: x, [n, d].
        sample_weights: c, [n].
        kind: how components are represented.
    """
    cloud = Cloud.of(data, sample_weights)
    coordinates = cloud.coordinates()[1].astype(np.float32)
    n, d = coordinates.shape
    at = np.unique(np.linspace(0, n - 1, min(n, MOST_ROWS)).astype(int))
    count = min(n, 2 * (d + 1))
    squares, farthest, held = (coordinates**2).sum(axis=1), np.empty(len(at)), np.empty(len(at))
    lifted = np.concatenate([coordinates, squares[:, None]], axis=1).T
    for first in range(0, len(at), AT_ONCE):
        some = at[first : first + AT_ONCE]
        # ‖y‖² − 2 xᵀ y, which lacks ‖x‖²
        distances = np.concatenate([-2.0 * coordinates[some], np.ones((len(some), 1), np.float32)], axis=1) @ lifted
        nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
        farthest[first : first + AT_ONCE] = distances[np.arange(len(some)), nearest[:, -1]] + squares[some]
        held[first : first + AT_ONCE] = cloud.counts[nearest].sum(axis=1)
    share = (held - cloud.counts[at]) / cloud.counts.sum()  # a row is no evidence of density at itself
    log_ball = 0.5 * d * np.log(np.pi * np.maximum(farthest, LEAST)) - math.lgamma(0.5 * d + 1.0)
    _, log_units = np.linalg.slogdet(cloud.covariance)
    return Neighbours(cloud, coordinates, at, count, np.log(share) - log_ball - 0.5 * log_units, kind)
