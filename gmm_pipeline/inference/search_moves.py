"""How a search makes new mixtures from those it has: a component is moved elsewhere, or two mixtures are joined.

All moves keep the number of components: one component is removed, and inserted where the rest fits worst among a few
places (swap), as half of another (split), or as a narrow one inside another (nest); or the left part of one mixture is
joined with the right part of another (join); or a mixture is drawn anew (fresh), as a start is. The result need not be
good, only different: the search improves it. Split and merge are from Ueda et al. (2000), swaps of Zhao et al. (2012);
the worst place is where adding a component raises the likelihood fastest (Lindsay 1983).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model import inits, portable
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.multivariate import AnyParameters, components_taken

Array = np.ndarray
SWAP, SPLIT, NEST, JOIN, FRESH = MOVES = ("swap", "split", "nest", "join", "fresh")
LEAST_WEIGHT = 1e-12


class Landscape(NamedTuple):
    """What moves need to know about the data."""

    data: inits.Sorted
    equal_scales: bool
    narrowest: float
    """Log of the least scale of an inserted component."""
    places: int
    """Candidate places that are compared when a component is inserted."""
    starts: Mapping[str, float]
    """Hyperparameters of the starts."""


def fresh(generator: np.random.Generator, landscape: Landscape, n: int, n_components: int) -> Parameters:
    """Draw mixtures, [n, K], as starts of all kinds.

    Args:
        generator: draws them.
        landscape: the data.
        n: how many.
        n_components: K.
    """
    uniforms, of_scales = generator.random((2, n, n_components))
    data, given = landscape.data, landscape.starts
    of_quantiles, of_clusters = (
        math.ceil(n * up_to) for up_to in inits.kinds_up_to(given["quantile"], given["kmeans"])
    )
    kinds = (
        inits.quantiles(uniforms[:of_quantiles], data, jitter=given["jitter"], overlap=given["overlap"]),
        inits.clusters(uniforms[of_quantiles:of_clusters], data, smallest_scale=given["smallest_scale"]),
        inits.scatter(uniforms[of_clusters:], of_scales[of_clusters:], data, narrowest=given["narrowest"]),
    )
    return Parameters(*(np.concatenate(leaves) for leaves in zip(*kinds, strict=True)))


def varied(
    generators: Sequence[np.random.Generator],
    landscape: Landscape,
    kept: Parameters,
    n_kept: Int[Array, " R"],
    numbers: Mapping[str, int],
) -> Parameters:
    """Make new mixtures, [R, n, K], from those that each search has kept.

    Args:
        generators: of the searches.
        landscape: the data.
        kept: [R, k, K], components in order of loc.
        n_kept: how many of these there are.
        numbers: how many to make by each of `MOVES`.
    """
    n_components = kept.component_mus.shape[-1]
    new = [fresh(generator, landscape, numbers[FRESH], n_components) for generator in generators]
    drawn_anew = Parameters(*(np.stack(leaves) for leaves in zip(*new, strict=True)))
    if n_components == 1:
        return drawn_anew
    moves = [move for move in MOVES if move != FRESH for _ in range(numbers[move])]
    # Random numbers are drawn search by search, so that none depends on the number of searches.
    uniforms = np.stack([generator.random((len(moves), 7 + 2 * landscape.places)) for generator in generators])
    family = _Family(kept, n_kept, uniforms, _chances_to_go(kept, landscape.data))
    children = [drawn_anew]
    for move in dict.fromkeys(moves):
        of_move = slice(moves.index(move), moves.index(move) + numbers[move])
        children.append(_MOVES[move](family.slots(of_move), landscape))
    return Parameters(*(np.concatenate(leaves, axis=1) for leaves in zip(*children, strict=True)))


class _Family(NamedTuple):
    """The parents of new mixtures, and the uniform numbers that decide about them."""

    kept: Parameters
    n_kept: Int[Array, " R"]
    uniforms: Float[Array, "R n u"]
    to_go: Float[Array, "R k K"]
    """Cumulative probabilities of each component to be removed."""

    def slots(self, which: slice) -> "_Family":
        return self._replace(uniforms=self.uniforms[:, which])

    def parent(self, number: int) -> list[Array]:
        """Log weights, locs and log scales, [R, n, K], of the mixtures that a uniform number chooses."""
        found = taken(self.kept, self._chosen(number))
        log_weights = np.log(np.maximum(weights_of(found), LEAST_WEIGHT))
        return [np.array(leaf, np.float64) for leaf in (log_weights, *found[1:])]

    def _chosen(self, number: int) -> Int[Array, "R n"]:
        chosen = (self.uniforms[..., number] * self.n_kept[:, None]).astype(int)
        return np.minimum(chosen, self.n_kept[:, None] - 1)

    def components(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Indices of a component to be removed, and of another one."""
        n_components = self.kept.component_mus.shape[-1]
        chances = np.take_along_axis(self.to_go, self._chosen(0)[..., None], axis=1)
        out = np.minimum((chances <= self.uniforms[..., 2, None]).sum(axis=-1), n_components - 1)
        other = (out + 1 + (self.uniforms[..., 3] * (n_components - 1)).astype(int)) % n_components
        searches, slots = np.indices(out.shape)
        return (searches, slots, out), (searches, slots, other)


@np.errstate(over="ignore", invalid="ignore")  # without a floor, a scale may be as small as any
def _chances_to_go(kept: Parameters, data: inits.Sorted) -> Float[Array, "R k K"]:
    """Cumulative probabilities of removal, half uniform, half by rank: each is half that of the next less needed.

    How much a component is needed is −Σ_i c_i log(1 − r_ij) nats, the loss of likelihood without it.
    """
    log_weights, locs, log_scales = (np.asarray(leaf, np.float32)[..., None] for leaf in kept)
    standardised = (data.data.astype(np.float32) - locs) * np.exp(-log_scales)
    joint = portable.log_joint(log_weights - log_scales, standardised)
    shares = np.exp(joint - joint.max(axis=-2, keepdims=True))
    shares /= shares.sum(axis=-2, keepdims=True)
    needed = -np.log(np.maximum(1.0 - shares, 1e-6)) @ data.counts.astype(np.float32)
    ranks = needed.argsort(axis=-1).argsort(axis=-1)
    by_rank = 0.5**ranks
    n_components = needed.shape[-1]
    return np.cumsum(0.5 / n_components + 0.5 * by_rank / by_rank.sum(axis=-1, keepdims=True), axis=-1)


def _swap(family: _Family, landscape: Landscape) -> Parameters:
    log_weights, locs, log_scales = family.parent(0)
    out, _ = family.components()
    data, places = landscape.data, landscape.places
    at = data.drawn(family.uniforms[..., 7 : 7 + places])
    widest = math.log(data.spread)
    sizes = widest + (landscape.narrowest - widest) * family.uniforms[..., 7 + places :]
    if landscape.equal_scales:
        sizes = np.broadcast_to(log_scales[..., :1], sizes.shape)
    rest = log_weights.copy()
    rest[out] = -np.inf
    rest -= np.log(np.exp(rest).sum(axis=-1, keepdims=True))
    gain = _gains(Parameters(rest, locs, log_scales), at, sizes, data)
    best = (*out[:2], gain.argmax(axis=-1))
    locs[out], log_scales[out] = at[best], sizes[best]
    log_weights[out] = np.log(np.maximum(family.uniforms[..., 4], 0.05) / locs.shape[-1])
    return Parameters(log_weights, locs, log_scales)


@np.errstate(over="ignore", invalid="ignore")
def _gains(
    mixtures: Parameters, at: Float[Array, "R n p"], sizes: Float[Array, "R n p"], data: inits.Sorted
) -> Float[Array, "R n p"]:
    """Σ_i c_i N(x_i | place) / p(x_i): how fast the likelihood rises with the weight of a component there."""
    values, counts = data.data.astype(np.float32), data.counts.astype(np.float32)

    def densities(locs: Array, log_scales: Array, log_weights: Array) -> Array:
        inverse = np.exp(-log_scales).astype(np.float32)
        z = (values - locs.astype(np.float32)[..., None]) * inverse[..., None]
        return np.exp(portable.log_joint((log_weights - log_scales).astype(np.float32)[..., None], z))

    log_weights, locs, log_scales = (np.asarray(leaf) for leaf in mixtures)
    density = densities(locs, log_scales, log_weights).sum(-2)
    there = counts / np.maximum(density, np.float32(1e-30))
    return np.einsum("rnpi,rni->rnp", densities(at, sizes, np.zeros_like(sizes)), there)


def _split(family: _Family, landscape: Landscape) -> Parameters:
    log_weights, locs, log_scales = family.parent(0)
    out, other = family.components()
    u = family.uniforms
    loc, log_scale, log_weight = locs[other], log_scales[other], log_weights[other]
    step = (0.3 + 0.9 * u[..., 4]) * np.exp(log_scale)
    narrower = 0.0 if landscape.equal_scales else np.log(0.4 + 0.6 * u[..., 6])
    share = np.clip(u[..., 5], 0.1, 0.9)
    locs[out], locs[other] = loc + step, loc - step
    log_scales[out], log_scales[other] = log_scale + narrower, log_scale + narrower
    log_weights[out], log_weights[other] = log_weight + np.log(share), log_weight + np.log1p(-share)
    return Parameters(log_weights, locs, log_scales)


def _nest(family: _Family, landscape: Landscape) -> Parameters:
    log_weights, locs, log_scales = family.parent(0)
    out, other = family.components()
    u = family.uniforms
    locs[out] = locs[other] + 2.5 * (2.0 * u[..., 4] - 1.0) * np.exp(log_scales[other])
    log_scales[out] = log_scales[other] - (0.0 if landscape.equal_scales else 0.2 + 3.0 * u[..., 5])
    log_weights[out] = log_weights[other] + np.log(0.1 + 0.4 * u[..., 6])
    return Parameters(log_weights, locs, log_scales)


def _join(family: _Family, landscape: Landscape) -> Parameters:
    left, right = family.parent(0), family.parent(1)
    n_components = left[1].shape[-1]
    cut = 1 + (family.uniforms[..., 4] * (n_components - 1)).astype(int)
    from_right = np.arange(n_components) >= cut[..., None]
    return Parameters(*(np.where(from_right, two, one) for one, two in zip(left, right, strict=True)))


_MOVES = {SWAP: _swap, SPLIT: _split, NEST: _nest, JOIN: _join}


def taken(mixtures: AnyParameters, index: Int[Array, "R n"]) -> AnyParameters:
    """Select mixtures [R, n, K] from [R, m, K] by their index in each row.

    Args:
        mixtures: [R, m, K].
        index: [R, n], numbers from 0 to m − 1 in each row.
    """
    return components_taken(mixtures, index)


def weights_of(mixtures: AnyParameters) -> Float[Array, "*S K"]:
    """Weights of mixtures, of sum one."""
    log_weights = mixtures.log_component_weights
    relative = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    return relative / relative.sum(axis=-1, keepdims=True)


def in_order(mixtures: Parameters) -> Parameters:
    """The same mixtures, components in order of loc."""
    order = np.argsort(mixtures.component_mus, axis=-1, kind="stable")
    return Parameters(*(np.take_along_axis(leaf, order, axis=-1) for leaf in mixtures))


@np.errstate(over="ignore", invalid="ignore")
def distances(one: Parameters, others: Parameters) -> Float[Array, "R n"]:
    """Distance between mixtures with sorted components, by locs in scales, log scales and weights; broadcasts.

    Args:
        one: [..., K], components in order of loc.
        others: [..., K], likewise; the leading axes broadcast.
    """
    w, v = weights_of(one), weights_of(others)
    scale = np.exp(np.minimum(one.log_component_scales, others.log_component_scales))
    moved = np.abs(one.component_mus - others.component_mus) / scale
    resized = np.abs(one.log_component_scales - others.log_component_scales)
    return (np.minimum(w, v) * np.minimum(moved + resized, 10.0)).sum(-1) + np.abs(w - v).sum(-1)
