"""Match the components of two mixtures, and measure how far apart they are.

The order of components is arbitrary, so a fit can be compared with a truth, or a bootstrap replicate with its fit, only
after matching. The cost of a pair is the Bhattacharyya distance of the weighted components, in nats,

    −log (∫ √(w_a f_a · w_b f_b) / ½(w_a + w_b)) = ¼ (μ_a − μ_b)² / (σ_a² + σ_b²)
        + ½ log(½(σ_a² + σ_b²) / (σ_a σ_b)) + log(½(w_a + w_b) / √(w_a w_b)),

in several columns ⅛ Δᵀ Σ̄⁻¹ Δ + ½ log(|Σ̄| / √(|Σ_a| |Σ_b|)) with Δ = μ_a − μ_b, Σ̄ = ½(Σ_a + Σ_b) and the same term of
the weights. An optimal assignment makes the product of the overlaps largest (Bhattacharyya 1943; Kuhn 1955). The cost
is 0 only for equal components, symmetric, and independent of units. Unlike Hellinger's distance it keeps growing when
components no longer overlap, and unlike Kullback and Leibler's it stays moderate for a collapsed one. Since it includes
the weights, an empty component does not displace another when the numbers of components differ.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from gmm_pipeline.model.natural import AnyMixture, M, Mixture, MultivariateMixture, definite_or_identity, taken

TINY = float(np.finfo(np.float64).tiny)
UNMATCHABLE = 1e300
"""Cost of a pair that is not finite: larger than any other, but finite."""


class Matching(NamedTuple):
    """Pairs of components, in the order of the other mixture's."""

    components: Int[np.ndarray, " M"]
    others: Int[np.ndarray, " M"]
    unmatched: tuple[int, ...]
    """Components without a partner in the other mixture."""
    unmatched_others: tuple[int, ...]


def match(mixture: AnyMixture, other: AnyMixture) -> Matching:
    """The optimal assignment of components to another mixture's, each used once.

    Components that are not finite or have no scale in some direction stay unmatched.

    Args:
        mixture: of K components.
        other: of L components, in the same units.
    """
    costs = distances(mixture, other)
    possible = np.isfinite(costs)
    others, components = _assigned(np.where(possible, costs, UNMATCHABLE).T)
    kept = possible[components, others]
    components, others = components[kept], others[kept]
    return Matching(
        components,
        others,
        tuple(sorted({*range(len(mixture.locs))}.difference(components.tolist()))),
        tuple(sorted({*range(len(other.locs))}.difference(others.tolist()))),
    )


def _assigned(costs: Float[np.ndarray, "L K"]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the assignment of least cost: each row's cheapest column, unless two rows share one."""
    n_rows, n_columns = costs.shape
    if n_rows > n_columns:
        columns, rows = _assigned(costs.T)
        by_row = np.argsort(rows)
        return rows[by_row], columns[by_row]
    cheapest = np.argmin(costs, axis=1)
    if len(np.unique(cheapest)) == n_rows:
        return np.arange(n_rows), cheapest
    from scipy.optimize import linear_sum_assignment  # imports for 0.3 s, which few processes have to spend

    return linear_sum_assignment(costs)


@np.errstate(all="ignore")
def distances(mixture: AnyMixture, other: AnyMixture) -> Float[np.ndarray, "K L"]:
    """Bhattacharyya distance of each pair of weighted components, in nats; NaN where it is undefined.

    Args:
        mixture: of K components.
        other: of L components, in the same units.
    """
    w_a, w_b = np.maximum(mixture.weights[:, None], TINY), np.maximum(other.weights[None, :], TINY)
    of_weights = np.log(0.5 * (w_a + w_b)) - 0.5 * (np.log(w_a) + np.log(w_b))
    if isinstance(mixture, MultivariateMixture) and isinstance(other, MultivariateMixture):
        return _distances_of_normals(mixture, other) + of_weights
    (_, mu_a, sigma_a), (_, mu_b, sigma_b) = (
        (leaf[:, None] for leaf in mixture),
        (leaf[None, :] for leaf in other),
    )
    variances = sigma_a**2 + sigma_b**2
    return 0.25 * (mu_a - mu_b) ** 2 / variances + 0.5 * np.log(0.5 * variances / (sigma_a * sigma_b)) + of_weights


def _distances_of_normals(mixture: MultivariateMixture, other: MultivariateMixture) -> Float[np.ndarray, "K L"]:
    (covariances_a, whole_a), (covariances_b, whole_b) = (
        definite_or_identity(one.covariances) for one in (mixture, other)
    )
    mean = 0.5 * (covariances_a[:, None] + covariances_b[None, :])
    gaps = mixture.locs[:, None] - other.locs[None, :]
    squares = np.sum(gaps * np.linalg.solve(mean, gaps[..., None])[..., 0], axis=-1)
    log_mean, log_a, log_b = (np.linalg.slogdet(one).logabsdet for one in (mean, covariances_a, covariances_b))
    found = 0.125 * squares + 0.5 * log_mean - 0.25 * (log_a[:, None] + log_b[None, :])
    return np.where(whole_a[:, None] & whole_b[None, :], found, np.nan)


@np.errstate(all="ignore")
def z_scores(fitted: M, truth: M, standard_errors: Sequence[np.ndarray]) -> M:
    """Errors in units of standard errors, (estimate − truth) / standard error, after matching.

    Args:
        fitted: the estimates, K components.
        truth: what they estimate, L components.
        standard_errors: of the estimates, in the order of their fields, K components; further ones are not read.

    Returns:
        For each component of the truth; NaN without a partner or a standard error, 0 if an estimate without error is
        right, such as the weight of a single component.
    """
    found = match(fitted, truth)
    scores = []
    for estimates, truths, errors in zip(fitted, truth, standard_errors[: len(fitted)], strict=True):
        differences = estimates[found.components] - truths[found.others]
        of_truth = np.full(truths.shape, np.nan)
        of_truth[found.others] = np.where(
            (differences == 0.0) & (errors[found.components] == 0.0), 0.0, differences / errors[found.components]
        )
        scores.append(of_truth)
    return type(fitted)(*scores)


class LargestErrors(NamedTuple):
    """The largest errors of a fit, in units that do not depend on the data set."""

    weights: float
    """Of |ŵ − w| / w."""
    locs: float
    """Of |μ̂ − μ| in true standard deviations: √((μ̂ − μ)ᵀ Σ⁻¹ (μ̂ − μ)) in several columns."""
    scales: float
    """Of |σ̂ − σ| / σ; in several columns, in the direction where it is largest: |√λ − 1|, λ an eigenvalue of Σ⁻¹ Σ̂."""


def largest_errors(fitted: M, truth: M) -> LargestErrors | None:
    """The largest errors after matching; None if a component has no partner.

    Args:
        fitted: the estimates, K components.
        truth: what they estimate, L components.
    """
    found = match(fitted, truth)
    if found.unmatched or found.unmatched_others:
        return None
    fitted, true = taken(fitted, found.components), taken(truth, found.others)
    if isinstance(fitted, Mixture) and isinstance(true, Mixture):
        weights, locs, scales = (np.abs(one - other) for one, other in zip(fitted, true, strict=True))
        relative = weights / true.weights, locs / true.scales, scales / true.scales
    elif isinstance(fitted, MultivariateMixture) and isinstance(true, MultivariateMixture):
        whiteners = np.linalg.inv(np.linalg.cholesky(true.covariances))
        whitened = whiteners @ fitted.covariances @ np.swapaxes(whiteners, -2, -1)
        relative = (
            np.abs(fitted.weights - true.weights) / true.weights,
            np.linalg.norm(np.einsum("kij,kj->ki", whiteners, fitted.locs - true.locs), axis=-1),
            np.abs(np.sqrt(np.linalg.eigvalsh(whitened)) - 1.0),
        )
    else:
        raise TypeError("Mixtures of one and of several columns have no common errors.")
    return LargestErrors(*(float(errors.max()) for errors in relative))


def in_order_of(fitted: M, other: M) -> M:
    """A mixture with its components in the order of the matching ones of a fit, NaN for those without a partner.

    Args:
        fitted: K components, whose order is taken.
        other: L components, in the same units.
    """
    found = match(other, fitted)
    ordered = type(fitted)(*(np.full_like(leaf, np.nan) for leaf in fitted))
    for leaf, values in zip(ordered, other, strict=True):
        leaf[found.others] = values[found.components]
    return ordered


def matched_truth(fitted: M, truth: M | None) -> M | None:
    """The true parameters of each fitted component, NaN for those without a partner.

    Sorting by loc pairs the components of one column well enough; sorting by weight does not pair those of several.

    Args:
        fitted: K components, in the order in which components are numbered.
        truth: L components, in that order and in the same units; None if it is not known.
    """
    sorted_alike = isinstance(fitted, Mixture) and truth is not None and len(truth.locs) == len(fitted.locs)
    return truth if truth is None or sorted_alike else in_order_of(fitted, truth)


def adjusted_rand_index(
    labels: Shaped[np.ndarray, " n"],
    other: Shaped[np.ndarray, " n"],
    sample_weights: Real[np.ndarray, " n"] | None = None,
) -> float:
    """Agreement of two clusterings beyond chance: 1 for the same one, 0 on average for random ones.

    (Σ_ab C(n_ab, 2) − e) / (½ (Σ_a C(n_a, 2) + Σ_b C(n_b, 2)) − e) with e = Σ_a C(n_a, 2) Σ_b C(n_b, 2) / C(n, 2), the
    expectation with the sizes of the clusters fixed; C(m, 2) = m (m − 1) / 2 is the number of pairs (Hubert & Arabie
    1985). The names of labels do not matter. It is 1 where nothing can differ, as with one cluster on both sides.

    Args:
        labels: the cluster of each datum.
        other: the same in the other clustering.
        sample_weights: how often each datum counts; None for once each.
    """
    (names, rows), (other_names, columns) = (np.unique(of_data, return_inverse=True) for of_data in (labels, other))
    table = np.bincount(
        rows * len(other_names) + columns, weights=sample_weights, minlength=len(names) * len(other_names)
    ).reshape(len(names), len(other_names))
    together, in_labels, in_other, in_all = (
        float(np.sum(counts * (counts - 1.0)) / 2.0)
        for counts in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    most = 0.5 * (in_labels + in_other)
    by_chance = in_labels * in_other / in_all if in_all > 0 else most
    return (together - by_chance) / (most - by_chance) if most != by_chance else 1.0
