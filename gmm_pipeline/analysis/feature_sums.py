"""Sums of the features 1, z and z zᵀ over data, of which the curvature of a likelihood is made.

By Louis' identity (1982) the information of incomplete data is that of complete data, expected given what is observed,
less the variance of the complete gradient. What is not observed is the component of a datum and, where cells are
missing, their values, which are normal given the component and the cells that are there.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from threadpoolctl import threadpool_limits

from gmm_pipeline.inference.scaling import AnyData
from gmm_pipeline.model.incomplete import patterns
from gmm_pipeline.model.large_data import in_order, slices

ELEMENTS_AT_ONCE = 2**19
"""Of the products of a block of data."""


class Origin(NamedTuple):
    """The fit, as the point where all free numbers are zero."""

    log_weights: Float[np.ndarray, " K"]
    locs: Float[np.ndarray, "K d"]
    factors: Float[np.ndarray, "K d d"]
    """L of Σ = L Lᵀ."""
    log_variances: Float[np.ndarray, "K d"]
    """Along the axes: log volume and log shape."""
    orientations: Float[np.ndarray, "K d d"]
    """Axes, as columns."""
    noise: Any = None
    """Log joint density of the noise and any datum, plus ½ d log 2π, which the components lack; None without noise."""
    analysis: Any = None
    """Where it is a model of factors, these, in place of axes."""


class FeatureSums(NamedTuple):
    """Sums over data of K components' p features, expected given what is observed; r are responsibilities."""

    means: Float[np.ndarray, "K p"]
    """Σ c r_j E T_j."""
    products: Float[np.ndarray, "K p p"]
    """Σ c r_j E T_j T_jᵀ."""
    together: Float[np.ndarray, "Kp Kp"]
    """Σ c (r E T)(r E T)ᵀ."""


def feature_sums(
    origin: Origin,
    data: Float[AnyData, "n d"],
    sample_weights: Float[np.ndarray, " n"],
    power: int = 1,
    seen: Callable[[int], None] | None = None,
) -> FeatureSums:
    """Sums over data of the expected features T_j = (1, z_j, products of z_j) of each component.

    With noise, it is one component more, the last, with z = 0.

    Args:
        origin: the fit.
        data: x, NaN where a cell is missing; anything whose slices are arrays.
        sample_weights: c, how often each datum counts.
        power: of the sample weights in the sums.
        seen: called with the rows seen so far.
    """
    n_components, n_columns = origin.locs.shape
    n_components += origin.noise is not None
    rows, columns = np.triu_indices(n_columns)
    n_features = 1 + n_columns + len(rows)
    given_of = functools.cache(lambda gaps: _given(origin, np.frombuffer(gaps, bool)))

    def of_rows(given: _Given, some: np.ndarray, counts: np.ndarray) -> FeatureSums:
        z, joint = given.means_of(some)
        if origin.noise is not None:  # the noise depends on nothing but its weight
            z = np.concatenate([z, np.zeros_like(z[:1])])
            joint = np.concatenate([joint, np.full_like(joint[:1], origin.noise)])
        r = np.exp(joint - joint.max(axis=0))
        r /= r.sum(axis=0)
        features = np.empty((n_components, n_features, len(some)))
        features[:, 0], features[:, 1 : 1 + n_columns] = 1.0, z
        for column, place in enumerate(np.flatnonzero(rows == columns)):
            products_of = features[:, 1 + n_columns + place :][:, : n_columns - column]
            np.multiply(z[:, column, None], z[:, column:], out=products_of)
        if given.within is not None:
            features[:, 1 + n_columns :] += given.within[:, rows, columns][:, :, None]
        counted = r * counts
        means = np.squeeze(features @ counted[:, :, None], axis=2)
        # A product of a matrix with itself takes half as long.
        rooted = features * np.sqrt(counted)[:, None]
        products = rooted @ np.swapaxes(rooted, 1, 2)
        if given.within is not None:
            products += _varying(given.within, z, counted)
        features *= (r * np.sqrt(counts))[:, None]
        flat = features.reshape(n_components * n_features, -1)
        return FeatureSums(means, products, flat @ flat.T)

    @np.errstate(all="ignore")
    def of_block(here: slice) -> FeatureSums:
        some = np.asarray(data[here], np.float64)
        counts = np.asarray(sample_weights[here], np.float64) ** power
        return functools.reduce(
            _together,
            (of_rows(given_of(gaps.tobytes()), some[members], counts[members]) for gaps, members in _alike(some)),
        )

    blocks = slices(len(data), max(ELEMENTS_AT_ONCE // (n_components * n_features), 1))

    def reported() -> Iterator[FeatureSums]:
        for block, sums in zip(blocks, in_order(of_block, blocks), strict=True):
            if seen is not None:
                seen(block.stop)
            yield sums

    # One thread a block: their number does not decide the last bits, and none waits for the others.
    with threadpool_limits(1, "blas"):
        return functools.reduce(_together, reported())


def _together(one: FeatureSums, other: FeatureSums) -> FeatureSums:
    return FeatureSums(*map(np.add, one, other))


class _Given(NamedTuple):
    """What is known of z, for rows that lack the same columns."""

    means_of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    """data -> E z, [K, d, n], and the log joint density up to a constant of the row, [K, n]."""
    within: Float[np.ndarray, "K d d"] | None
    """Covariance of z; None where nothing is missing."""


def _alike(data: Float[np.ndarray, "n d"]) -> Iterable[tuple[np.ndarray, Any]]:
    """Rows that lack the same columns."""
    missing = np.isnan(data)
    return patterns(missing) if missing.any() else [(np.zeros(data.shape[1], bool), slice(None))]


def _given(origin: Origin, gaps: Bool[np.ndarray, " d"]) -> _Given:
    return _of_incomplete(origin, gaps) if gaps.any() else _of_complete(origin)


def _of_complete(origin: Origin) -> _Given:
    whiteners = np.linalg.inv(origin.factors)
    heights = origin.log_weights - 0.5 * origin.log_variances.sum(axis=1)

    def means_of(here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = whiteners @ (here.T - origin.locs[:, :, None])
        return z, heights[:, None] - 0.5 * np.sum(z * z, axis=1)

    return _Given(means_of, None)


def _of_incomplete(origin: Origin, gaps: Bool[np.ndarray, " d"]) -> _Given:
    """Z = L⁻¹ (x − μ), of x_m that is normal about μ_m + Σ_mo Σ_oo⁻¹ (x_o − μ_o)."""
    covariances = origin.factors @ np.swapaxes(origin.factors, 1, 2)
    of_both, of_seen = covariances[:, gaps][:, :, ~gaps], covariances[:, ~gaps][:, :, ~gaps]
    slopes = of_both @ np.linalg.inv(of_seen)
    whiteners = np.linalg.inv(origin.factors)
    rest = covariances[:, gaps][:, :, gaps] - slopes @ np.swapaxes(of_both, 1, 2)
    within = whiteners[:, :, gaps] @ rest @ np.swapaxes(whiteners[:, :, gaps], 1, 2)
    from_seen = whiteners[:, :, ~gaps] + whiteners[:, :, gaps] @ slopes
    factors = np.linalg.cholesky(of_seen)
    heights = origin.log_weights - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    standardise = np.linalg.inv(factors)

    def means_of(here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = here[:, ~gaps].T - origin.locs[:, ~gaps, None]
        squares = np.sum((standardise @ away) ** 2, axis=1)
        return from_seen @ away, heights[:, None] - 0.5 * squares

    return _Given(means_of, within)


def _varying(
    within: Float[np.ndarray, "K d d"], z: Float[np.ndarray, "K d n"], counted: Float[np.ndarray, "K n"]
) -> Float[np.ndarray, "K p p"]:
    """Σ c r Cov T of a normal z (Isserlis 1918), since E T Tᵀ = E T E Tᵀ + Cov T.

    With C = Cov z and m = E z: Cov(z_a, z_b z_c) = m_b C_ac + m_c C_ab, and Cov(z_a z_b, z_c z_d) = m_a m_c C_bd +
    m_b m_d C_ac + C_ac C_bd, and the same with c and d exchanged.

    Args:
        within: C.
        z: m.
        counted: c r.
    """
    n_columns = within.shape[-1]
    rows, columns = np.triu_indices(n_columns)
    total = counted.sum(axis=1)[:, None, None]
    first = np.einsum("kn,kin->ki", counted, z)
    squares = np.einsum("kn,kin,kjn->kij", counted, z, z)
    outer = np.einsum("kac,kbd->kabcd", squares + total * within, within)
    outer = outer + np.einsum("kac,kbd->kabcd", within, squares)
    outer = outer + np.swapaxes(outer, 3, 4)
    mixed = np.einsum("kb,kac->kabc", first, within) + np.einsum("kc,kab->kabc", first, within)
    found = np.zeros((len(within), 1 + n_columns + len(rows), 1 + n_columns + len(rows)))
    linear, quadratic = slice(1, 1 + n_columns), slice(1 + n_columns, None)
    found[:, linear, linear] = total * within
    found[:, linear, quadratic] = mixed[:, :, rows, columns]
    found[:, quadratic, linear] = np.swapaxes(found[:, linear, quadratic], 1, 2)
    found[:, quadratic, quadratic] = outer[:, rows, columns][:, :, rows, columns]
    return found
