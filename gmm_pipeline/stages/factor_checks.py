"""Checks of what a fit of factor analysers needs of the config and the data."""

from collections.abc import Sequence

from omegaconf import DictConfig

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import FACTOR, most_factors
from gmm_pipeline.model.prior_traits import is_declared, traits
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.stages.fit_checks import AUTO


def check_factors(cfg: DictConfig, log_prior: Plugin, dataset: Dataset, models: Sequence[str]) -> None:
    """Refuse more factors than the columns identify, priors on covariances, and rows with missing cells.

    Args:
        cfg: the resolved config of a fit.
        log_prior: of the fit.
        dataset: of several columns.
        models: covariance models that are fitted.

    Raises:
        InputError: which key.
    """
    if FACTOR not in models:
        return
    where = "selection.covariances" if cfg.covariance == AUTO else "covariance"
    n_columns = dataset.data.shape[1]
    most = most_factors(n_columns)
    if most == 0:
        raise InputError(
            where,
            expected=f"another model for {n_columns} columns, whose covariance has fewer numbers than a factor needs",
            came=FACTOR,
            remedy="Use covariance=full, or three columns or more.",
        )
    if cfg.factors > most:
        raise InputError(
            "factors",
            expected=f"at most {most} for {n_columns} columns: with q factors of d columns (d − q)² ≥ d + q must hold",
            came=str(cfg.factors),
            remedy=f"Use factors={most}, or covariance=full for a covariance without structure.",
        )
    if is_declared(log_prior.function) and traits(log_prior.function).pseudo_count is None:
        known = [prior for prior in vars(priors).values() if is_declared(prior)]
        names = [prior.__name__ for prior in known if traits(prior).pseudo_count is not None]
        raise InputError(
            "prior",
            expected=f"{' or '.join(names)} with {where}={FACTOR}, since others are priors on covariances",
            came=log_prior.function.__name__,
            remedy="prior=flat is maximum likelihood.",
        )
    if dataset.n_incomplete:
        raise InputError(
            where,
            expected=f"another model where rows have missing cells, as {dataset.n_incomplete:,} of {dataset.name} have",
            came=FACTOR,
            remedy="Use data.missing=drop, or covariance=full.",
        )
