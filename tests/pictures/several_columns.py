"""A mixture of several columns, draws of it and a fit's history that ends there, for tests of pictures."""

import numpy as np

from gmm_pipeline.model import portable
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records.artifacts import History


def mixture(d: int, n_components: int = 3) -> MultivariateMixture:
    """Components of falling weight, whose locs differ most in the last column, with covariances of full rank."""
    generator = np.random.default_rng(d)
    weights = np.arange(n_components, 0.0, -1.0)
    locs = generator.normal(size=(n_components, d)) * np.linspace(1.0, 6.0, d)
    factors = generator.normal(size=(n_components, d, d)) / np.sqrt(d) + np.eye(d)
    return MultivariateMixture(weights / weights.sum(), locs, factors @ np.swapaxes(factors, 1, 2))


def draws(truth: MultivariateMixture, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Data, [n, d], and responsibilities, [K, n]."""
    generator = np.random.default_rng(0)
    labels = generator.choice(len(truth.weights), p=truth.weights, size=n)
    factors = np.linalg.cholesky(truth.covariances)
    noise = generator.normal(size=(n, truth.locs.shape[1]))
    data = truth.locs[labels] + np.einsum("nij,nj->ni", factors[labels], noise)
    return data, portable.evaluate(*truth, data)[1]


def history_towards(end: MultivariateMixture, n_records: int = 12) -> History:
    """From one spot to the end, with covariances that shrink from four times their size."""
    share = np.linspace(0.0, 1.0, n_records)[:, None, None]
    locs = end.weights @ end.locs + share * (end.locs - end.weights @ end.locs)
    covariances = end.covariances * (4.0 - 3.0 * share[..., None])
    weights = np.repeat(end.weights[None], n_records, axis=0)
    losses = 1000.0 + 500.0 * np.exp(-0.5 * np.arange(n_records))
    return History(3 * np.arange(n_records), losses, MultivariateMixture(weights, locs, covariances))
