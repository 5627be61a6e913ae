"""The search's moves for several columns; see `search_moves.py`.

A component is removed, and inserted where the rest fits worst among a few data (swap), as half of another (split), or
as a narrow one inside another (nest); or the components of one mixture on one side of a plane are joined with those of
another on its other side (join); or a mixture is drawn anew (fresh): from k-means++ seeds in coordinates that are
standardised and whitened in turn, which miss different optima, or scattered. What components share stays shared.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.inference import search_moves
from gmm_pipeline.inference.families.compared import log_densities, whiteners_of
from gmm_pipeline.inference.search_moves import FRESH, JOIN, LEAST_WEIGHT, MOVES, NEST, SPLIT, SWAP, weights_of
from gmm_pipeline.model.covariances import Kind, kind_of
from gmm_pipeline.model.factor_analysis import FEW_STEPS, factored
from gmm_pipeline.model.multivariate import (
    MultivariateParameters,
    components_taken,
    covariance_parameters,
    parameters_of,
)
from gmm_pipeline.model.multivariate_inits import Cloud, of_partition, scattered, seeds
from gmm_pipeline.model.natural import MultivariateMixture

Array = np.ndarray
MOST_ELEMENTS = 4e6
"""Elements of an array of densities that are computed at once."""


class Rows(NamedTuple):
    """What moves need to know about the data."""

    cloud: Cloud
    coordinates: tuple[Float[Array, "n d"], Float[Array, "n d"]]
    """The data standardised by column, and whitened."""
    model: str
    narrowest: float
    """Log of the least size of an inserted component, relative to the covariance of all data."""
    places: int
    """Candidate places that are compared when a component is inserted."""
    starts: Mapping[str, float]
    """Hyperparameters of the starts."""
    factors: int = 0
    """q; other models have none."""

    @property
    def kind(self) -> Kind:
        """How components are represented."""
        return kind_of(self.model)

    def of_all_data(self) -> tuple[Float[Array, " d"], Any, Any]:
        """Log scales, axes and loadings of the covariance of all data, those that the model has."""
        if self.factors:
            log_scales, loadings = factored(self.cloud.covariance, self.factors)
            return log_scales, None, loadings
        return *covariance_parameters(self.cloud.covariance, self.kind), None


def landscape(data: Array, sample_weights: Array, job: Any, plan: Any, spread: Float[Array, "d d"]) -> Rows:
    """What moves need to know about the data.

    Args:
        data: x, those that the search sees.
        sample_weights: c, how often each counts.
        job: the fit.
        plan: of the search.
        spread: covariance of all data.
    """
    cloud = Cloud.of(data, sample_weights)._replace(covariance=spread)
    least = float(np.log(max(plan.narrowest, job.scale_floor)))
    return Rows(cloud, cloud.coordinates(), job.covariance, least, plan.places, plan.starts._asdict(), job.factors)


def fresh(generator: np.random.Generator, rows: Rows, n: int, n_components: int) -> MultivariateParameters:
    """Draw mixtures, [n, K]: from k-means++ seeds, standardised and whitened in turn, and scattered ones.

    Args:
        generator: draws them.
        rows: the data.
        n: how many.
        n_components: K.
    """
    uniforms, of_scales = generator.random((2, n, n_components))
    n_seeded = int(np.ceil(n * (rows.starts["quantile"] + rows.starts["kmeans"])))
    drawn = []
    for number in range(n):
        if number < n_seeded:
            nearest, centres = seeds(uniforms[number], rows.coordinates[number % 2], rows.cloud.counts)
            weights, within = of_partition(nearest, rows.cloud, n_components, rows.starts["smallest_scale"])
            shared = np.broadcast_to(within, (n_components, *within.shape))
            drawn.append(MultivariateMixture(weights, rows.cloud.data[centres], shared))
        else:
            drawn.append(scattered(uniforms[number], of_scales[number], rows.cloud, narrowest=rows.starts["narrowest"]))
    stacked = MultivariateMixture(*(np.stack(leaves) for leaves in zip(*drawn, strict=True)))
    return _of_one_shape(stacked, rows) if rows.factors else parameters_of(stacked, rows.kind)


def _of_one_shape(mixtures: MultivariateMixture, rows: Rows) -> MultivariateParameters:
    """Mixtures, [n, K], whose components differ in size alone, so that loadings are computed once for each."""
    log_sizes = np.log(mixtures.scales)
    of_first, first = factored(mixtures.covariances[:, 0], rows.factors, FEW_STEPS)
    log_scales = of_first[:, None] + log_sizes - log_sizes[:, :1]
    loadings = np.repeat(first[:, None], log_sizes.shape[1], axis=1)
    return MultivariateParameters(np.log(mixtures.weights), mixtures.locs, log_scales, None, loadings)


def varied(
    generators: Sequence[np.random.Generator],
    rows: Rows,
    kept: MultivariateParameters,
    n_kept: Int[Array, " R"],
    numbers: Mapping[str, int],
) -> MultivariateParameters:
    """Make new mixtures, [R, n, K], from those that each search has kept.

    Args:
        generators: of the searches.
        rows: the data.
        kept: [R, k, K].
        n_kept: how many of these there are.
        numbers: how many to make by each of `MOVES`.
    """
    n_components, n_columns = kept.component_mus.shape[-2:]
    new = [fresh(generator, rows, numbers[FRESH], n_components) for generator in generators]
    drawn_anew = _map(lambda *leaves: np.stack(leaves), *new)
    if n_components == 1:
        return drawn_anew
    moves = [move for move in MOVES if move != FRESH for _ in range(numbers[move])]
    # Random numbers are drawn search by search, so that none depends on the number of searches.
    size = (len(moves), 8 + 2 * rows.places)
    uniforms = np.stack([generator.random(size) for generator in generators])
    directions = np.stack([generator.standard_normal((len(moves), n_columns)) for generator in generators])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    to_go = _chances_to_go(kept, rows)
    children = [drawn_anew]
    for move in dict.fromkeys(moves):
        here = slice(moves.index(move), moves.index(move) + numbers[move])
        family = _Parents(kept, n_kept, uniforms[:, here], directions[:, here], to_go)
        children.append(_MOVES[move](family, rows))
    return _map(lambda *leaves: np.concatenate(leaves, axis=1), *children)


class _Parents(NamedTuple):
    """The parents of new mixtures, and the random numbers that decide about them."""

    kept: MultivariateParameters
    n_kept: Int[Array, " R"]
    uniforms: Float[Array, "R n u"]
    directions: Float[Array, "R n d"]
    to_go: Float[Array, "R k K"]

    def parent(self, number: int) -> MultivariateParameters:
        """The mixtures, [R, n, K], that a uniform number chooses, with log weights of sum one."""
        found = _map(lambda leaf: np.array(leaf, np.float64), search_moves.taken(self.kept, self._chosen(number)))
        return found._replace(log_component_weights=np.log(np.maximum(weights_of(found), LEAST_WEIGHT)))

    def _chosen(self, number: int) -> Int[Array, "R n"]:
        chosen = (self.uniforms[..., number] * self.n_kept[:, None]).astype(int)
        return np.minimum(chosen, self.n_kept[:, None] - 1)

    def components(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Indices of a component to be removed, and of another one."""
        n_components = self.kept.component_mus.shape[-2]
        chances = np.take_along_axis(self.to_go, self._chosen(0)[..., None], axis=1)
        out = np.minimum((chances <= self.uniforms[..., 2, None]).sum(axis=-1), n_components - 1)
        other = (out + 1 + (self.uniforms[..., 3] * (n_components - 1)).astype(int)) % n_components
        searches, slots = np.indices(out.shape)
        return (searches, slots, out), (searches, slots, other)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _chances_to_go(kept: MultivariateParameters, rows: Rows) -> Float[Array, "R k K"]:
    """Cumulative probabilities of removal, half uniform, half by rank; see `search_moves`."""
    joint = log_densities(kept, rows.cloud.data) + np.log(weights_of(kept))[..., None].astype(np.float32)
    shares = np.exp(joint - joint.max(axis=-2, keepdims=True))
    shares /= shares.sum(axis=-2, keepdims=True)
    needed = -np.log(np.maximum(1.0 - shares, 1e-6)) @ rows.cloud.counts.astype(np.float32)
    ranks = needed.argsort(axis=-1).argsort(axis=-1)
    by_rank = 0.5**ranks
    n_components = needed.shape[-1]
    return np.cumsum(0.5 / n_components + 0.5 * by_rank / by_rank.sum(axis=-1, keepdims=True), axis=-1)


def _swap(parents: _Parents, rows: Rows) -> MultivariateParameters:
    child = parents.parent(0)
    log_weights, locs, log_scales, axes, loadings = child
    out, other = parents.components()
    places, u = rows.places, parents.uniforms
    at = rows.cloud.drawn(u[..., 8 : 8 + places])
    # The shape of another component, or that of all data, in any size.
    own_shape = u[..., 5] < 0.5
    of_all, axes_of_all, loadings_of_all = rows.of_all_data()
    shape = np.where(own_shape[..., None], log_scales[other], of_all)
    least = np.where(own_shape, rows.narrowest / 2.0, rows.narrowest)
    sizes = least[..., None] * u[..., 8 + places :] + np.where(own_shape, 0.5, 0.0)[..., None]
    if _has_equal_volumes(rows.model):
        shape, sizes = log_scales[out], np.zeros_like(sizes)
    elif _has_equal_shapes(rows.model):
        shape = log_scales[other] + (of_all.mean() - log_scales[other].mean(axis=-1))[..., None] * ~own_shape[..., None]
    scales = shape[..., None, :] + sizes[..., None]
    turned: Any = None
    if axes is not None:
        is_own = own_shape | _has_equal_axes(rows.model)
        turned = np.where(is_own[..., None, None], axes[other], axes_of_all)
    by_place = None if turned is None else np.broadcast_to(turned[..., None, :, :], (*at.shape, at.shape[-1]))
    inserted = MultivariateParameters(np.zeros(at.shape[:-1]), at, scales, by_place)
    if loadings is not None:
        loaded = np.where(own_shape[..., None, None], loadings[other], loadings_of_all)
        inserted = inserted._replace(loadings=np.repeat(loaded[..., None, :, :], places, axis=-3))
        loadings[out] = loaded
    rest = log_weights.copy()
    rest[out] = -np.inf
    rest -= np.log(np.exp(rest).sum(axis=-1, keepdims=True))
    gain = _gains(child._replace(log_component_weights=rest), inserted, rows)
    best = (*out[:2], gain.argmax(axis=-1))
    locs[out], log_scales[out] = at[best], scales[best]
    if axes is not None:
        axes[out] = turned
    log_weights[out] = np.log(np.maximum(u[..., 4], 0.05) / locs.shape[-2])
    return MultivariateParameters(log_weights, locs, log_scales, axes, loadings)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _gains(mixtures: MultivariateParameters, inserted: MultivariateParameters, rows: Rows) -> Float[Array, "R n p"]:
    """Σ_i c_i N(x_i | place) / p(x_i): how fast the likelihood rises with the weight of a component there."""
    n_searches, n_slots, places = inserted.component_mus.shape[:-1]
    found = np.empty((n_searches, n_slots, places), np.float32)
    components = mixtures.component_mus.shape[-2]
    at_once = max(
        1, int(MOST_ELEMENTS / (n_searches * max(places, components) * len(rows.cloud.data) * rows.cloud.data.shape[1]))
    )
    log_weights = np.asarray(mixtures.log_component_weights)[..., None].astype(np.float32)
    for first in range(0, n_slots, at_once):
        here = slice(first, first + at_once)
        some, new = (_map(lambda leaf, here=here: leaf[:, here], one) for one in (mixtures, inserted))
        joint = log_densities(some, rows.cloud.data) + log_weights[:, here]
        highest = joint.max(axis=-2, keepdims=True)
        log_density = highest + np.log(np.exp(joint - highest).sum(axis=-2, keepdims=True))
        # A datum that the rest does not explain at all must not decide alone.
        ratio = np.exp(np.minimum(log_densities(new, rows.cloud.data) - log_density, 30.0))
        found[:, here] = ratio @ rows.cloud.counts.astype(np.float32)
    return found


def _split(parents: _Parents, rows: Rows) -> MultivariateParameters:
    child = parents.parent(0)
    log_weights, locs, log_scales = child[:3]
    out, other = parents.components()
    u = parents.uniforms
    away = _along(child, other, parents.directions) * (0.3 + 0.9 * u[..., 4])[..., None]
    share = np.clip(u[..., 5], 0.1, 0.9)
    narrower = 0.0 if _has_equal_volumes(rows.model) else np.log(0.6 + 0.4 * u[..., 6])[..., None]
    locs[out], locs[other] = locs[other] + away, locs[other] - away
    log_scales[other] = log_scales[other] + narrower
    _copy(child, out, other)
    log_weights[out], log_weights[other] = log_weights[other] + np.log(share), log_weights[other] + np.log1p(-share)
    return child


def _nest(parents: _Parents, rows: Rows) -> MultivariateParameters:
    child = parents.parent(0)
    log_weights, locs, log_scales = child[:3]
    out, other = parents.components()
    u = parents.uniforms
    locs[out] = locs[other] + _along(child, other, parents.directions) * (2.5 * (2.0 * u[..., 4] - 1.0))[..., None]
    _copy(child, out, other)
    if not _has_equal_volumes(rows.model):
        log_scales[out] = log_scales[out] - (0.1 + 2.0 * u[..., 5])[..., None]
    log_weights[out] = log_weights[other] + np.log(0.1 + 0.4 * u[..., 6])
    return child


def _join(parents: _Parents, rows: Rows) -> MultivariateParameters:
    one, two = (_along_direction(parents.parent(number), parents.directions) for number in (0, 1))
    n_components = one.component_mus.shape[-2]
    cut = 1 + (parents.uniforms[..., 4] * (n_components - 1)).astype(int)
    from_two = np.arange(n_components) >= cut[..., None]

    def joined(left: Array, right: Array) -> Array:
        return np.where(from_two.reshape(*from_two.shape, *[1] * (left.ndim - from_two.ndim)), right, left)

    return _map(joined, one, two)


_MOVES = {SWAP: _swap, SPLIT: _split, NEST: _nest, JOIN: _join}


def _along(parameters: MultivariateParameters, which: tuple[Any, ...], directions: Array) -> Float[Array, "R n d"]:
    """A step of one standard deviation of a component, in a direction of its standardised coordinates."""
    inverse = whiteners_of(_map(lambda leaf: leaf[which], parameters))
    return np.linalg.solve(inverse, directions[..., None])[..., 0]


def _copy(parameters: MultivariateParameters, out: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Give a component the covariance of another, in place."""
    for leaf in (parameters.log_component_scales, parameters.axes, parameters.loadings):
        if leaf is not None:
            leaf[out] = leaf[other]


def _along_direction(parameters: MultivariateParameters, directions: Array) -> MultivariateParameters:
    """Components in the order of their locs along a direction."""
    along = np.einsum("rnkd,rnd->rnk", parameters.component_mus, directions)
    return components_taken(parameters, np.argsort(along, axis=-1, kind="stable"))


def _has_equal_volumes(model: str) -> bool:
    return model[0] == "E"


def _has_equal_shapes(model: str) -> bool:
    return model[1] == "E"


def _has_equal_axes(model: str) -> bool:
    return model[2] == "E"


def _map(function: Any, *trees: MultivariateParameters) -> MultivariateParameters:
    leaves: Any = zip(*trees, strict=True)
    mapped: list[Any] = [None if one[0] is None else function(*one) for one in leaves]
    return MultivariateParameters(*mapped)
