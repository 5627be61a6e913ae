"""What a fit with a noise component needs: data with a volume, and keys that know of the noise."""

from omegaconf import DictConfig

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.parameterization import over_sticks
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model.noise import BOX, HULL, MOST_COLUMNS_OF_A_HULL, log_volume
from gmm_pipeline.records.datasets import Dataset


def check_noise(cfg: DictConfig, log_prior: Plugin, dataset: Dataset) -> None:
    """Refuse what is not defined, or not known, of a mixture with noise.

    Args:
        cfg: the resolved config.
        log_prior: of the fit.
        dataset: of the fit.

    Raises:
        InputError: which key.
    """
    incomplete = f"none where rows have missing cells, as {dataset.n_incomplete:,} of {dataset.name} have"
    sticks = "one that is not over broken sticks, where there is noise"
    tested = "0 where there is noise, since the test draws from the components alone"
    unknown = "aic, bic, icl or held_out where there is noise, of which the learning coefficients are not known"
    by_bic = "Use criterion=bic, or noise=none."
    singular = cfg.n_components == "auto" and cfg.criterion == "sbic"
    for refused, key, expected, came, remedy in (
        (dataset.n_incomplete, "noise", incomplete, cfg.noise, "Use data.missing=drop."),
        (over_sticks(log_prior), "prior", sticks, log_prior.function.__name__, "Use prior=dirichlet, or noise=none."),
        (cfg.likelihood_ratio, "likelihood_ratio", tested, cfg.likelihood_ratio, by_bic),
        (singular, "criterion", unknown, cfg.criterion, by_bic),
    ):
        if refused:
            raise InputError(key, expected=expected, came=str(came), remedy=remedy)


def volume_of(dataset: Dataset, kind: str) -> float:
    """Logarithm of the volume of a dataset's noise, in the user's units.

    Args:
        dataset: of complete rows; those of weight 0 do not count.
        kind: `BOX` or `HULL`.

    Raises:
        InputError: the data have no hull, or too many columns for one.
    """
    n_columns = dataset.data.shape[1] if dataset.data.ndim > 1 else 1
    if kind == HULL and n_columns > MOST_COLUMNS_OF_A_HULL:
        raise InputError(
            "noise",
            expected=f"{BOX} for more than {MOST_COLUMNS_OF_A_HULL} columns ({dataset.name} has {n_columns})",
            came=HULL,
            remedy="Use noise=box.",
        )
    try:
        return log_volume(dataset.data[dataset.counts > 0], kind)
    except ValueError as error:
        raise InputError(
            "noise", expected=f"{BOX} for {dataset.name}, since {error}", came=HULL, remedy="Use noise=box."
        ) from error
