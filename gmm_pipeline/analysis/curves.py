"""The numbers behind pictures: bars, densities, distances from the lowest loss, and which history entries to show.

They are separate from the drawing, so that they can be tested quickly without a picture, and recomputed in NumPy,
float64, so that a picture needs no compiler.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from gmm_pipeline.model import movements, portable
from gmm_pipeline.model.natural import AnyMixture, Mixture, order_of, taken
from gmm_pipeline.records.artifacts import History

SomeMixture = TypeVar("SomeMixture", bound=AnyMixture)

MAX_BINS = 200
LEAST_BINS = 20
OUTSIDE_QUANTILE = 0.01
LEAST_WIDTH = 1e-290
CUT_DENSITY = 3.0
MOST_NAMED = 16
LEAST_NAMED = 0.01
"""Least weight of a component that is named if there are many, up to as many as fit beside a picture."""


class Histogram(NamedTuple):
    """Bars of a density histogram, and the share of the data (by weight) that lies outside the picture."""

    densities: Float[np.ndarray, " B"]
    edges: Float[np.ndarray, " B+1"]
    share_outside: float


def in_order(mixture: SomeMixture) -> SomeMixture:
    """The mixture with its components in the order in which they are numbered."""
    exact = type(mixture)(*(np.asarray(leaf, np.float64) for leaf in mixture))
    return cast(SomeMixture, taken(exact, order_of(exact)))


class Named(NamedTuple):
    """The components that a picture names, and its label for the others."""

    chosen: Int[np.ndarray, " N"]
    """Increasing."""
    others: Int[np.ndarray, " M"]
    rest: str
    """The label of the others; empty if there are none."""


def named(weights: Float[np.ndarray, " K"], always: Sequence[int] = ()) -> Named:
    """The components that a picture names: all where they are few, else the heavy ones.

    Args:
        weights: of the components; one that is not finite counts as nothing.
        always: components that are named regardless of weight.
    """
    if len(weights) <= MOST_NAMED:
        return Named(np.arange(len(weights)), np.arange(0), "")
    finite = np.where(np.isfinite(weights), weights, 0.0)
    heaviest = np.argsort(-finite, kind="stable")[:MOST_NAMED]
    heavy = heaviest[finite[heaviest] >= LEAST_NAMED]
    chosen = np.union1d(heavy if heavy.size else heaviest, np.asarray(always, np.int64))
    others = np.delete(np.arange(len(weights)), chosen)
    light = bool(np.all(~(weights[others] >= LEAST_NAMED)))
    rest = f"{len(others)} below {100.0 * LEAST_NAMED:g} %" if light else f"{len(others)} more"
    return Named(chosen, others, rest if others.size else "")


def weighted_densities(mixture: Mixture, points: Float[np.ndarray, " G"]) -> Float[np.ndarray, "K G"]:
    """Weight times density of each component at each point, per unit of the data; NaN if a parameter is not finite.

    Args:
        mixture: K components.
        points: [G], x, in the unit of the mixture.
    """
    weights, locs, scales = (np.asarray(values, np.float64)[:, None] for values in mixture)
    with np.errstate(all="ignore"):
        heights = portable.log_height(np.log(weights), np.log(scales))
        densities = np.exp(portable.log_joint(heights, (points - locs) / scales))
    densities = np.where(np.isfinite(densities) & (scales > 0.0), densities, np.nan)
    # An emptied component may have lost its loc and scale, and still adds nothing.
    return np.where(weights == 0.0, 0.0, densities)


def mixture_density(
    parts: Float[np.ndarray, "K G"],
    weights: Float[np.ndarray, " K"],
    log_noise: float | None,
    inside: Bool[np.ndarray, " G"] | bool = True,
) -> Float[np.ndarray, " G"]:
    """Density of a mixture at each point, with the noise if there is any.

    Args:
        parts: from `weighted_densities`.
        weights: of the components.
        log_noise: log density of the noise, whose weight is what the others lack to sum to one; None without noise.
        inside: whether each point is in the range of the data, where the noise is.
    """
    total = parts.sum(axis=0)
    return total if log_noise is None else total + (1.0 - weights.sum()) * math.exp(log_noise) * inside


def ends_of(data: Float[np.ndarray, " n"], sample_weights: Float[np.ndarray, " n"] | None) -> tuple[float, float]:
    """The least and the largest datum that counts.

    Args:
        data: of one column.
        sample_weights: [n]; None for once each.
    """
    counted = data if sample_weights is None else data[sample_weights > 0.0]
    return float(counted.min()), float(counted.max())


def within(points: Float[np.ndarray, " G"], ends: tuple[float, float]) -> Bool[np.ndarray, " G"]:
    """Which points are in a range.

    Args:
        points: any.
        ends: of the range.
    """
    return (points >= ends[0]) & (points <= ends[1])


def window_of(bars: Histogram) -> tuple[float, float]:
    """Range of the x axis of a picture or a frame: the bars, and a fiftieth of their width on both sides."""
    margin = 0.02 * (bars.edges[-1] - bars.edges[0])
    return float(bars.edges[0] - margin), float(bars.edges[-1] + margin)


def density_points(window: tuple[float, float], *mixtures: Mixture | None, base: int) -> Float[np.ndarray, " G"]:
    """Points at which to evaluate densities: `base` over the window, and dense ones across each component.

    Args:
        window: lower and upper end, in the unit of the data.
        mixtures: whose components are to be resolved; None is skipped.
        base: number of evenly spaced points.
    """
    pieces = [np.linspace(*window, base)]
    for mixture in mixtures:
        if mixture is not None:
            around = np.linspace(-6.0, 6.0, 73)
            with np.errstate(all="ignore"):
                pieces.append((mixture.locs[:, None] + mixture.scales[:, None] * around).ravel())
    points = np.unique(np.concatenate(pieces))
    return points[(points >= window[0]) & (points <= window[1])]


def histogram(data: Real[np.ndarray, " n"], sample_weights: Real[np.ndarray, " n"] | None) -> Histogram:
    """Density histogram of the data: half the Freedman–Diaconis width, aligned to rounded data, without outliers.

    Half the width, since the quartiles of a mixture span its modes and the rule would blur them. The bars cover the
    central quantiles and as much again on both sides, so that one outlier does not squeeze all others into one bar.

    Args:
        data: [n], x; what is not finite is left out.
        sample_weights: [n], how often each datum counts; None for once each.
    """
    values = np.asarray(data, np.float64)
    weights = np.ones_like(values) if sample_weights is None else np.asarray(sample_weights, np.float64)
    used = np.isfinite(values) & (weights > 0.0)
    values, weights = values[used], weights[used]
    if not values.size:
        return Histogram(np.zeros(1), np.array([0.0, 1.0]), 0.0)
    sites = np.unique(values)
    low, first, third, high = np.quantile(values, [OUTSIDE_QUANTILE, 0.25, 0.75, 1.0 - OUTSIDE_QUANTILE])
    start, stop = float(max(sites[0], low - (high - low))), float(min(sites[-1], high + (high - low)))
    # Adjacent doubles count as equal: no bar fits between them, and its density would overflow.
    least = max(64.0 * float(np.spacing(max(abs(start), abs(stop)))), LEAST_WIDTH)
    if stop - start <= least:
        half = max(0.5e-3 * abs(start), least) if abs(start) > least else 0.5
        start, stop = start - half, stop + half
    effective = float(weights.sum() ** 2 / np.sum(weights**2))
    width = float(third - first) / effective ** (1.0 / 3.0)
    least_bins = min(LEAST_BINS, math.ceil(2.0 * math.sqrt(effective)))
    width = min(max(width, (stop - start) / MAX_BINS, least), (stop - start) / least_bins)
    resolution = float(np.diff(sites).min()) if 1 < sites.size <= values.size // 2 else 0.0
    if resolution > least and (stop - start) / resolution <= 4 * MAX_BINS:
        # Bars that hold three rounded values here and four there would show a comb that is not in the data.
        width = max(round(width / resolution), 1) * resolution
        start -= 0.5 * resolution
        edges = start + width * np.arange(math.ceil((stop + 0.5 * resolution - start) / width - 1e-9) + 1)
    else:
        edges = np.linspace(start, stop, max(round((stop - start) / width), 1) + 1)
    masses, _ = np.histogram(values, bins=edges, weights=weights)
    shares = masses / weights.sum()
    return Histogram(shares / np.diff(edges), edges, max(0.0, float(1.0 - shares.sum())))


def density_top(bars: Histogram, *curves: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Top of the density axis and the highest density; a spike above three times the highest bar is cut off."""
    highest = max([float(np.nanmax(np.append(curve, 0.0))) for curve in curves], default=0.0)
    tallest = float(bars.densities.max())
    top = min(max(highest, tallest), CUT_DENSITY * tallest) if tallest > 0.0 else highest
    return 1.06 * (top or 1.0), highest


def loss_excess(losses: Float[np.ndarray, " H"]) -> tuple[Float[np.ndarray, " H"], int | None]:
    """Distance of each loss from the lowest, NaN where it is zero or not finite, and the first index of the lowest."""
    finite = np.isfinite(losses)
    if not finite.any():
        return np.full(losses.shape, np.nan), None
    best = int(np.argmin(np.where(finite, losses, np.inf)))
    excess = np.where(finite, losses, np.nan).astype(np.float64) - float(losses[best])
    return np.where(excess > 0.0, excess, np.nan), best


def choose_records(history: History, n_chosen: int) -> Int[np.ndarray, " F"]:
    """Indices of at most `n_chosen` history entries, strictly increasing, including the first and the last.

    Entries are spread evenly over a clock that advances half with the logarithm of the step and half with the distance
    that the mixture moves. The distance alone would spend all frames on jitter about the optimum, the logarithm alone
    would skip a late escape from a plateau.

    Args:
        history: H entries.
        n_chosen: how many are wanted.
    """
    n_records = len(history.steps)
    n_chosen = min(n_chosen, n_records)
    if n_chosen < 2:
        return np.arange(n_records)[-1:]
    moves = movements.moves(history.mixtures)
    path = np.append(0.0, np.cumsum(np.where(np.isfinite(moves) & (moves < 1e6), moves, 0.0)))
    clock = np.log1p(np.arange(n_records)) / np.log1p(n_records - 1) + path / (path[-1] or 1.0)
    ideal = np.searchsorted(clock, np.linspace(0.0, clock[-1], n_chosen))
    order = np.arange(n_chosen)
    spread = np.maximum.accumulate(ideal - order) + order
    return np.minimum(spread, n_records - n_chosen + order)
