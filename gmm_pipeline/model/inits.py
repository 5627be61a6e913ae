"""Where a fit starts: `(key, data, sample_weights, n_components) -> Parameters`, named by `_target_` in `conf/init/`.

Keyword-only arguments are hyperparameters and come from the config. The data are as the fit sees them: standardised
where `standardize=true`. Starts know nothing of the optimizer or the prior.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.mixture import AnyArray, Parameters, Scalar

Key = PRNGKeyArray | Num[Array, "2"]


def normal(
    key: Key, data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"], n_components: int
) -> Parameters:
    """The notebook's start: standard-normal draws of every unconstrained parameter, whatever the data.

    Args:
        key: split in four, of which the first three draw log weights, locs and log scales.
        data: x, used for its dtype alone.
        sample_weights: not used.
        n_components: K.
    """
    key_weights, key_mus, key_scales, _ = jax.random.split(key, 4)
    draws = [jax.random.normal(k, (n_components,), data.dtype) for k in (key_weights, key_mus, key_scales)]
    return Parameters(*draws)


def quantile(
    key: Key,
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    jitter: float | Float[AnyArray, ""],
    overlap: float | Float[AnyArray, ""],
) -> Parameters:
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
    uniforms = jax.random.uniform(key, (n_components,), data.dtype)
    return _quantile(uniforms, data, sample_weights, jitter, overlap)


def _quantile(
    uniforms: Float[AnyArray, " K"],
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    jitter: Scalar,
    overlap: Scalar,
) -> Parameters:
    _check_number("init.jitter", jitter, least=0.0, most=1.0)
    _check_number("init.overlap", overlap)
    n_components = len(uniforms)
    shift = jitter * (uniforms - 0.5)
    levels = (jnp.arange(n_components, dtype=data.dtype) + 0.5 + shift) / n_components
    return Parameters(
        log_component_weights=jnp.zeros((n_components,), data.dtype),
        component_mus=_weighted_quantiles(data, sample_weights, levels),
        log_component_scales=jnp.full((n_components,), jnp.log(overlap * _spread(data, sample_weights) / n_components)),
    )


def kmeans(
    key: Key,
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    smallest_scale: float | Float[AnyArray, ""],
) -> Parameters:
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
    return _kmeans(jax.random.uniform(key, (n_components,), data.dtype), data, sample_weights, smallest_scale)


def _kmeans(
    uniforms: Float[AnyArray, " K"],
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    smallest_scale: Scalar,
) -> Parameters:
    _check_number("init.smallest_scale", smallest_scale)
    n_components = len(uniforms)
    first = _drawn(uniforms[0], data, sample_weights)

    def add_centre(
        squared_distances: Float[AnyArray, " n"], uniform: Float[AnyArray, ""]
    ) -> tuple[Float[Array, " n"], Float[Array, ""]]:
        centre = _drawn(uniform, data, sample_weights * squared_distances)
        return jnp.minimum(squared_distances, (data - centre) ** 2), centre

    _, others = jax.lax.scan(add_centre, (data - first) ** 2, uniforms[1:])
    centres = jnp.sort(jnp.concatenate([first[None], others]))
    nearest = jnp.argmin((data[None, :] - centres[:, None]) ** 2, axis=0)
    members = jnp.where(nearest[None, :] == jnp.arange(n_components)[:, None], sample_weights[None, :], 0.0)
    counts = jnp.sum(members, axis=1)
    variances = jnp.sum(members * (data[None, :] - centres[:, None]) ** 2, axis=1) / jnp.maximum(counts, 1e-30)
    smallest = smallest_scale * _spread(data, sample_weights)
    return Parameters(
        # One more datum in each cluster keeps the log weight of an empty one finite.
        log_component_weights=jnp.log(counts + 1.0),
        component_mus=centres,
        log_component_scales=jnp.log(jnp.maximum(jnp.sqrt(variances), smallest)),
    )


def scattered(
    key: Key,
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    narrowest: float | Float[AnyArray, ""],
) -> Parameters:
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
    uniforms = jax.random.uniform(key, (2 * n_components,), data.dtype)
    return _scattered(uniforms[:n_components], uniforms[n_components:], data, sample_weights, narrowest)


def _scattered(
    of_locs: Float[AnyArray, " K"],
    of_scales: Float[AnyArray, " K"],
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    narrowest: Scalar,
) -> Parameters:
    _check_number("init.narrowest", narrowest)
    widest = jnp.log(_spread(data, sample_weights))
    return Parameters(
        log_component_weights=jnp.zeros_like(of_locs),
        component_mus=jax.vmap(lambda uniform: _drawn(uniform, data, sample_weights))(of_locs),
        log_component_scales=widest + jnp.log(jnp.asarray(narrowest, data.dtype)) * of_scales,
    )


QUANTILE_UP_TO, KMEANS_UP_TO = 3 / 8, 6 / 8
"""Shares of starts of a kind: the two that usually hit more often, and a quarter for what both miss."""


def various(
    key: Key,
    data: Float[AnyArray, " n"],
    sample_weights: Float[AnyArray, " n"],
    n_components: int,
    *,
    jitter: float | Float[AnyArray, ""],
    overlap: float | Float[AnyArray, ""],
    smallest_scale: float | Float[AnyArray, ""],
    narrowest: float | Float[AnyArray, ""],
) -> Parameters:
    """A `quantile`, `kmeans` or `scattered` start, as the key has it: what one kind misses, another may reach.

    Args:
        key: chooses, and draws the start.
        data: x.
        sample_weights: c, how often each datum counts.
        n_components: K.
        jitter: of a quantile start.
        overlap: of a quantile start.
        smallest_scale: of a k-means++ start.
        narrowest: of a scattered start.

    Raises:
        InputError: where a hyperparameter is out of its range.
    """
    # One draw for all, since each draw takes as long to compile as a start.
    uniforms = jax.random.uniform(key, (2 * n_components + 1,), data.dtype)
    choice, first, second = uniforms[0], uniforms[1 : n_components + 1], uniforms[n_components + 1 :]
    starts = (
        _quantile(first, data, sample_weights, jitter, overlap),
        _kmeans(first, data, sample_weights, smallest_scale),
        _scattered(first, second, data, sample_weights, narrowest),
    )

    def chosen(spread: Array, centred: Array, strewn: Array) -> Array:
        return jnp.where(choice < QUANTILE_UP_TO, spread, jnp.where(choice < KMEANS_UP_TO, centred, strewn))

    return jax.tree.map(chosen, *starts)


def _drawn(uniform: Float[AnyArray, ""], data: Float[AnyArray, " n"], shares: Float[AnyArray, " n"]) -> Array:
    """One of the data, with a probability in proportion to its share; the last that has one, where rounding is short.

    By a running sum rather than a draw for each datum, which takes as long to compile as all else together.
    """
    sums = jnp.cumsum(shares)
    first_beyond = jnp.sum(sums <= uniform * sums[-1])
    last = len(data) - 1 - jnp.argmax(shares[::-1] > 0.0)
    return jnp.asarray(data)[jnp.minimum(first_beyond, last)]


def _check_number(where: str, value: Scalar, *, least: float | None = None, most: float = float("inf")) -> None:
    """Refuse a number that is out of range; one that is traced has none yet."""
    if not isinstance(value, int | float):
        return
    if not (value > 0 if least is None else value >= least) or not value <= most or value == float("inf"):
        raise InputError(
            where,
            expected="a positive, finite number" if least is None else f"a number from {least:g} to {most:g}",
            came=repr(value),
            remedy=f"Leave {where} out for the usual one.",
        )


def _spread(data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"]) -> Float[Array, ""]:
    mean = jnp.average(data, weights=sample_weights)
    return jnp.sqrt(jnp.average((data - mean) ** 2, weights=sample_weights))


def _weighted_quantiles(
    data: Float[AnyArray, " n"], sample_weights: Float[AnyArray, " n"], levels: Float[AnyArray, " K"]
) -> Float[Array, " K"]:
    order = jnp.argsort(data)
    counts = sample_weights[order]
    # The middle of a datum's share of the total, so that one datum alone sits at level one half.
    positions = (jnp.cumsum(counts) - 0.5 * counts) / jnp.sum(counts)
    return jnp.interp(levels, positions, data[order])
