"""Match the components of two mixtures, and measure how far apart they are.

The order of components is arbitrary, so a fit can be compared with a truth, or a bootstrap replicate with its fit, only
after matching. The cost of a pair is the Bhattacharyya distance of the weighted components, in nats,

    −log (∫ √(w_a f_a · w_b f_b) / ½(w_a + w_b)) = ¼ (μ_a − μ_b)² / (σ_a² + σ_b²)
        + ½ log(½(σ_a² + σ_b²) / (σ_a σ_b)) + log(½(w_a + w_b) / √(w_a w_b)),

and an optimal assignment makes the product of the overlaps largest (Bhattacharyya 1943; Kuhn 1955). It is 0 only for
equal components, symmetric, and independent of units. Unlike Hellinger's distance it keeps growing when components no
longer overlap, and unlike Kullback and Leibler's it stays moderate for a collapsed one. Since it includes the weights,
an empty component does not displace another when the numbers of components differ.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from gmm_pipeline.model.natural import Mixture

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


def match(mixture: Mixture, other: Mixture) -> Matching:
    """The optimal assignment of components to another mixture's, each used once.

    Components that are not finite or have no scale stay unmatched.

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
def distances(mixture: Mixture, other: Mixture) -> Float[np.ndarray, "K L"]:
    """Bhattacharyya distance of each pair of weighted components, in nats.

    Args:
        mixture: of K components.
        other: of L components, in the same units.
    """
    (w_a, mu_a, sigma_a), (w_b, mu_b, sigma_b) = (
        (leaf[:, None] for leaf in mixture),
        (leaf[None, :] for leaf in other),
    )
    variances = sigma_a**2 + sigma_b**2
    w_a, w_b = np.maximum(w_a, TINY), np.maximum(w_b, TINY)
    of_weights = np.log(0.5 * (w_a + w_b)) - 0.5 * (np.log(w_a) + np.log(w_b))
    return 0.25 * (mu_a - mu_b) ** 2 / variances + 0.5 * np.log(0.5 * variances / (sigma_a * sigma_b)) + of_weights


@np.errstate(all="ignore")
def z_scores(fitted: Mixture, truth: Mixture, standard_errors: Mixture) -> Mixture:
    """Errors in units of standard errors, (estimate − truth) / standard error, after matching.

    Args:
        fitted: the estimates, K components.
        truth: what they estimate, L components.
        standard_errors: of the estimates, K components.

    Returns:
        For each component of the truth; NaN without a partner or a standard error, 0 if an estimate without error is
        right, such as the weight of a single component.
    """
    found = match(fitted, truth)
    scores = []
    for estimates, truths, errors in zip(fitted, truth, standard_errors, strict=True):
        differences = estimates[found.components] - truths[found.others]
        of_truth = np.full(len(truths), np.nan)
        of_truth[found.others] = np.where(
            (differences == 0.0) & (errors[found.components] == 0.0), 0.0, differences / errors[found.components]
        )
        scores.append(of_truth)
    return Mixture(*scores)


def in_order_of(fitted: Mixture, other: Mixture) -> Mixture:
    """A mixture with its components in the order of the matching ones of a fit, NaN for those without a partner.

    Args:
        fitted: K components, whose order is taken.
        other: L components, in the same units.
    """
    found = match(other, fitted)
    ordered = Mixture(*(np.full_like(leaf, np.nan) for leaf in fitted))
    for leaf, values in zip(ordered, other, strict=True):
        leaf[found.others] = values[found.components]
    return ordered


def matched_truth(fitted: Mixture, truth: Mixture | None) -> Mixture | None:
    """The true parameters of each fitted component, NaN for those without a partner.

    Args:
        fitted: K components, in order of loc.
        truth: L components, in order of loc and in the same units; None if it is not known.
    """
    return truth if truth is None or len(truth.locs) == len(fitted.locs) else in_order_of(fitted, truth)


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
