"""Where a fit starts: `(key, data, sample_weights, n_components) -> Start`, named by `_target_` in `conf/init/`.

Keyword-only arguments are hyperparameters and come from the config. The data are as the fit sees them: standardised
where `standardize=true`. A start depends on neither the optimizer nor the prior. Starts are drawn on the host, by
NumPy, so that no number of components needs a program of its own; a start written in JAX works as well. A search draws
its first mixtures from the functions that make several starts at once, one per row.
"""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.large_data import ByIdentity
from gmm_pipeline.model.mixture import AnyArray, Parameters
from gmm_pipeline.model.multivariate_inits import Cloud, clustered, spread_out
from gmm_pipeline.model.multivariate_inits import scattered as multivariate_scattered
from gmm_pipeline.model.natural import MultivariateMixture, mean_and_spread
from gmm_pipeline.model.outliers import without_outliers

Key = Any
"""A JAX key, typed or as two uint32."""
Data = Float[AnyArray, " n"] | Float[AnyArray, "n d"]
Start = Parameters | MultivariateMixture
"""Of one column as the fit sees it; of several columns in natural parameters."""
Rows = Float[np.ndarray, "S K"]

MOST_REMEMBERED = 2**17
"""Data that stay in memory sorted, where they cannot be written to."""


def words_of(key: Key) -> list[int]:
    """The two uint32 that a key consists of."""
    return np.asarray(jax.random.key_data(key) if isinstance(key, jax.Array) else key, np.uint32).tolist()


def generator_of(key: Key) -> np.random.Generator:
    """NumPy's generator for a key."""
    return np.random.default_rng(words_of(key))


def normal(key: Key, data: Data, sample_weights: Float[AnyArray, " n"], n_components: int) -> Start:
    """The notebook's start: standard-normal draws of every unconstrained parameter, whatever the data; drawn by JAX.

    Args:
        key: split in four, of which the first three draw log weights, locs and log scales.
        data: x, used for its dtype alone.
        sample_weights: not used.
        n_components: K.
    """
    key_weights, key_mus, key_scales, _ = jax.random.split(key, 4)
    if data.ndim > 1:
        return _standard_normal(key_weights, key_mus, key_scales, data, n_components)
    draws = [jax.random.normal(k, (n_components,), data.dtype) for k in (key_weights, key_mus, key_scales)]
    return Parameters(*draws)


def _standard_normal(
    key_weights: Any, key_mus: Any, key_scales: Any, data: Float[AnyArray, "n d"], n_components: int
) -> MultivariateMixture:
    log_weights = np.asarray(jax.random.normal(key_weights, (n_components,)), np.float64)
    locs = np.asarray(jax.random.normal(key_mus, (n_components, data.shape[1])), np.float64)
    log_scales = np.asarray(jax.random.normal(key_scales, (n_components, data.shape[1])), np.float64)
    weights = np.exp(log_weights - log_weights.max())
    variances = np.exp(2.0 * log_scales)
    return MultivariateMixture(weights / weights.sum(), locs, variances[..., None] * np.eye(data.shape[1]))


def quantile(
    key: Key,
    data: Data,
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    jitter: float,
    overlap: float,
) -> Start:
    """Locs at evenly spread quantiles of the data, each moved within its share by the key; equal weights and scales.

    Loc j lies at the quantile (j + ½ + jitter · u_j) / K with u_j uniform on [−½, ½]; every scale is
    `overlap` times the standard deviation of the data over K. Components that overlap at first can still trade places;
    narrow ones stay where the jitter put them.

    Args:
        key: draws the jitter.
        data: x.
        sample_weights: c, how often each datum counts.
        n_components: K.
        jitter: 0 for none, 1 for anywhere in the component's share.
        overlap: positive.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    uniforms = generator_of(key).random((1, n_components))
    if data.ndim > 1:
        _check(jitter=jitter, overlap=overlap)
        return spread_out(uniforms[0], Cloud.of(data, sample_weights), jitter=jitter, overlap=overlap)
    return _only(quantiles(uniforms, Sorted.of(data, sample_weights), jitter=jitter, overlap=overlap), data)


def kmeans(
    key: Key,
    data: Data,
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    smallest_scale: float,
) -> Start:
    """k-means++ seeding (Arthur & Vassilvitskii 2007): centres are data, drawn by squared distance to those before.

    Weights and scales are those of the data nearest to each centre.

    Args:
        key: draws the centres.
        data: x.
        sample_weights: c, how often each datum counts.
        n_components: K.
        smallest_scale: the least scale of a component, as a share of the data's standard deviation; positive.

    Raises:
        InputError: where it is not positive.
    """
    if data.ndim > 1:
        _check(smallest_scale=smallest_scale)
        uniforms = generator_of(key).random(n_components + 1)
        return clustered(uniforms, Cloud.of(data, sample_weights), smallest_scale=smallest_scale)
    uniforms = generator_of(key).random((1, n_components))
    return _only(clusters(uniforms, Sorted.of(data, sample_weights), smallest_scale=smallest_scale), data)


def scattered(
    key: Key,
    data: Data,
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    narrowest: float,
) -> Start:
    """Locs at data drawn at random, scales drawn evenly in their logarithm: narrow components inside a broad one.

    Every scale is s^u times the standard deviation of the data, u uniform on [0, 1]; weights are equal.

    Args:
        key: draws locs and scales.
        data: x.
        sample_weights: c, how often each datum counts.
        n_components: K.
        narrowest: s, the least scale, as a share of the data's standard deviation; positive.

    Raises:
        InputError: where it is not positive.
    """
    uniforms = generator_of(key).random((2, 1, n_components))
    if data.ndim > 1:
        _check(narrowest=narrowest)
        of_locs, of_scales = uniforms[:, 0]
        return multivariate_scattered(of_locs, of_scales, Cloud.of(data, sample_weights), narrowest=narrowest)
    return _only(scatter(uniforms[0], uniforms[1], Sorted.of(data, sample_weights), narrowest=narrowest), data)


def various(
    key: Key,
    data: Data,
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    quantile: float,
    kmeans: float,
    jitter: float,
    overlap: float,
    smallest_scale: float,
    narrowest: float,
) -> Start:
    """A `quantile`, `kmeans` or `scattered` start, chosen by the key: what one kind misses, another may reach.

    Args:
        key: chooses the kind and draws the start.
        data: x.
        sample_weights: c, how often each datum counts.
        n_components: K.
        quantile: probability of a quantile start.
        kmeans: probability of a k-means++ start; the remainder is that of a scattered one.
        jitter: of a quantile start.
        overlap: of a quantile start.
        smallest_scale: of a k-means++ start.
        narrowest: of a scattered start.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    _check(jitter=jitter, overlap=overlap, smallest_scale=smallest_scale, narrowest=narrowest)
    quantile_up_to, kmeans_up_to = kinds_up_to(quantile, kmeans)
    choice, generator = generator_of(key).random(), generator_of(key)
    if data.ndim > 1:
        cloud = Cloud.of(data, sample_weights)
        if choice < quantile_up_to:
            return spread_out(generator.random(n_components), cloud, jitter=jitter, overlap=overlap)
        if choice < kmeans_up_to:
            return clustered(generator.random(n_components + 1), cloud, smallest_scale=smallest_scale)
        of_locs, of_scales = generator.random((2, n_components))
        return multivariate_scattered(of_locs, of_scales, cloud, narrowest=narrowest)
    in_order = Sorted.of(data, sample_weights)
    if choice < quantile_up_to:
        starts = quantiles(generator.random((1, n_components)), in_order, jitter=jitter, overlap=overlap)
    elif choice < kmeans_up_to:
        starts = clusters(generator.random((1, n_components)), in_order, smallest_scale=smallest_scale)
    else:
        of_locs, of_scales = generator.random((2, 1, n_components))
        starts = scatter(of_locs, of_scales, in_order, narrowest=narrowest)
    return _only(starts, data)


def kinds_up_to(quantile: float, kmeans: float) -> tuple[float, float]:
    """Where the shares of quantile and of k-means++ starts end, counted from 0; scattered ones follow, up to 1.

    Args:
        quantile: probability of a quantile start.
        kmeans: probability of a k-means++ start.

    Raises:
        InputError: they are not between 0 and 1, or sum to more than 1.
    """
    _check(quantile=quantile, kmeans=kmeans)
    if quantile + kmeans > 1.0:
        raise InputError(
            "init.quantile",
            expected=f"at most {1.0 - kmeans:g}, what init.kmeans leaves of 1",
            came=repr(quantile),
            remedy="Leave both out for the usual ones.",
        )
    return quantile, quantile + kmeans


class Sorted:
    """Data with a positive weight, sorted, in float64, with the statistics that starts need."""

    def __init__(self, data: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"]) -> None:
        self.data, self.counts = data, counts
        self.up_to = np.cumsum(counts)
        _, self.spread = mean_and_spread(data, without_outliers(data, counts))

    @classmethod
    def of(cls, data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"]) -> "Sorted":
        """Sort data and leave out those of weight 0.

        Args:
            data: x.
            sample_weights: c, how often each datum counts.
        """
        parts = ByIdentity(data), ByIdentity(sample_weights)
        lasts = all(isinstance(one.value, np.ndarray) and not one.value.flags.writeable for one in parts)
        return _remembered(*parts) if lasts and len(data) <= MOST_REMEMBERED else _sorted(*parts)

    def at(self, levels: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
        """Quantiles."""
        # The middle of a datum's share of the total, so that one datum alone sits at level one half.
        return np.interp(levels, (self.up_to - 0.5 * self.counts) / self.up_to[-1], self.data)

    def drawn(self, uniforms: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
        """Data drawn with probability proportional to their weights, one for each uniform number."""
        index = np.searchsorted(self.up_to, uniforms * self.up_to[-1], side="right")
        return self.data[np.minimum(index, len(self.data) - 1)]


def _sorted(data: ByIdentity, sample_weights: ByIdentity) -> Sorted:
    counts = np.asarray(sample_weights.value, np.float64)
    values = np.asarray(data.value, np.float64)[counts > 0]
    order = np.argsort(values, kind="stable")
    return Sorted(values[order], counts[counts > 0][order])


_remembered = functools.lru_cache(maxsize=4)(_sorted)  # the starts of a run and the runs of a sweep share their data


def quantiles(uniforms: Rows, data: Sorted, *, jitter: float, overlap: float) -> Parameters:
    """Starts as `quantile` makes them, one per row: [S, K].

    Args:
        uniforms: on [0, 1), decide the jitter.
        data: x.
        jitter: of `quantile`.
        overlap: of `quantile`.
    """
    _check(jitter=jitter, overlap=overlap)
    n_components = uniforms.shape[1]
    levels = (np.arange(n_components) + 0.5 + jitter * (uniforms - 0.5)) / n_components
    log_scales = np.full(uniforms.shape, np.log(overlap * data.spread / n_components))
    return Parameters(np.zeros(uniforms.shape), data.at(levels), log_scales)


def clusters(uniforms: Rows, data: Sorted, *, smallest_scale: float) -> Parameters:
    """Starts as `kmeans` makes them, one per row: [S, K].

    Args:
        uniforms: on [0, 1), decide the centres.
        data: x.
        smallest_scale: of `kmeans`.
    """
    _check(smallest_scale=smallest_scale)
    n_starts, n_components = uniforms.shape
    values, counts = data.data, data.counts
    shares = np.broadcast_to(counts, (n_starts, len(values)))
    distances = np.full(shares.shape, np.inf)
    centres = np.empty(uniforms.shape)
    for component in range(n_components):
        centres[:, component] = values[_drawn(uniforms[:, component], shares)]
        distances = np.minimum(distances, (values - centres[:, component, None]) ** 2)
        shares = counts * distances
    centres.sort(axis=1)
    # The data are sorted, so those nearest to a centre lie between two borders: sums are differences of running sums.
    middle = 0.5 * (values[0] + values[-1])
    running = [np.concatenate([[0.0], np.cumsum(counts * (values - middle) ** power)]) for power in range(3)]
    inner = np.searchsorted(values, 0.5 * (centres[:, 1:] + centres[:, :-1]), side="right")
    borders = np.pad(inner, ((0, 0), (1, 1)))
    borders[:, -1] = len(values)
    total, first, second = (np.diff(sums[borders], axis=1) for sums in running)
    away = centres - middle
    squares = np.maximum(second - 2.0 * away * first + away**2 * total, 0.0)
    scales = np.maximum(np.sqrt(squares / np.maximum(total, 1e-30)), smallest_scale * data.spread)
    # One more datum in each cluster keeps the log weight of an empty one finite.
    return Parameters(np.log(total + 1.0), centres, np.log(scales))


def scatter(of_locs: Rows, of_scales: Rows, data: Sorted, *, narrowest: float) -> Parameters:
    """Starts as `scattered` makes them, one per row: [S, K].

    Args:
        of_locs: on [0, 1), decide the locs.
        of_scales: on [0, 1), decide the scales.
        data: x.
        narrowest: of `scattered`.
    """
    _check(narrowest=narrowest)
    log_scales = np.log(data.spread) + np.log(narrowest) * of_scales
    return Parameters(np.zeros(of_locs.shape), data.drawn(of_locs), log_scales)


def _only(starts: Parameters, data: Float[AnyArray, " n"]) -> Parameters:
    return Parameters(*(leaf[0].astype(data.dtype) for leaf in starts))


def _drawn(uniforms: Float[np.ndarray, " S"], shares: Float[np.ndarray, "S n"]) -> np.ndarray:
    """For each row the index of a datum, drawn with probability proportional to its share; never one of share 0."""
    sums = np.cumsum(shares, axis=1)
    beyond = np.sum(sums <= (uniforms * sums[:, -1])[:, None], axis=1)
    last = shares.shape[1] - 1 - np.argmax(shares[:, ::-1] > 0.0, axis=1)
    return np.minimum(beyond, last)


MOST = {"jitter": 1.0, "quantile": 1.0, "kmeans": 1.0}
"""Hyperparameters with an upper bound; these may be 0, the others must be positive."""


def _check(**hyperparameters: float) -> None:
    """Refuse a number that is out of range."""
    for name, value in hyperparameters.items():
        where, most = f"init.{name}", MOST.get(name)
        if not isinstance(value, int | float):
            continue
        if not (value > 0 if most is None else 0 <= value <= most) or value == float("inf"):
            raise InputError(
                where,
                expected="a positive, finite number" if most is None else f"a number from 0 to {most:g}",
                came=repr(value),
                remedy=f"Leave {where} out for the usual one.",
            )
