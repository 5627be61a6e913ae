"""Checks of a fit's config beyond its schema: ranges of numbers, and what criteria need."""

import math

from omegaconf import DictConfig, ListConfig, OmegaConf

from gmm_pipeline.analysis.estimates import CRITERIA, LIKELIHOOD_RATIO
from gmm_pipeline.configuration import animation_formats, checks, config
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model import priors
from gmm_pipeline.model.prior_traits import is_declared, traits
from gmm_pipeline.records.provenance import memory

OBJECTIVES = ("bic", "aic", "icl", "loss", "log_likelihood")
"""Metrics that a run can be judged by."""
AUTO = "auto"
"""Stands for a number of components that is to be chosen."""
BYTES_A_DRAW = 64
"""Memory that drawing takes: the draws in two precisions, their components, and copies."""
SEARCH_SCHEMAS = {
    "search": config.SearchConfig,
    "search.moves": config.SearchMovesConfig,
    "search.starts": config.SearchStartsConfig,
}
"""Nodes whose keys are the arguments of what they build."""


def check_config(cfg: DictConfig) -> None:
    """Refuse numbers out of their range, unknown names, and settings that exclude each other.

    Args:
        cfg: the resolved config of a fit.

    Raises:
        InputError: which key.
    """
    keys = list(config.FitConfig.__dataclass_fields__)
    for name in map(str, cfg):
        # `+` can add any key, perhaps for the user's own interpolations; one that is nearly a key is a typo.
        if name not in keys and name != "hydra" and nearest(name, keys):
            raise checks.unknown_key(name, "", name, keys)
    _check_components(cfg)
    checks.check_range(cfg, "steps", 1, checks.MOST_STEPS)
    checks.check_range(cfg, "history_every", 1)
    checks.check_range(cfg, "restarts", 1, checks.MOST_RESTARTS)
    _check_search(cfg)
    for name, most in (("scale_floor", 1.0), ("fewest_data", None), ("tolerance", None), ("gradient_tolerance", None)):
        checks.check_real(cfg, name, 0.0, most)
    checks.check_real(cfg, "halves_apart", 0.001, 0.999)
    for name in ("folds", "bootstrap", "likelihood_ratio"):
        checks.check_range(cfg, name, 0, checks.MOST_RESTARTS)
    checks.check_real(cfg, "level", 0.5, 0.9999)
    checks.check_choice(cfg, "objective", OBJECTIVES)
    rate = cfg.optimizer.get("learning_rate") if isinstance(cfg.optimizer, DictConfig) else None
    if isinstance(rate, int | float) and not 0.0 < rate < math.inf:
        raise InputError(
            "optimizer.learning_rate",
            expected="a positive number",
            came=repr(rate),
            remedy="Leave optimizer.learning_rate out to use the default.",
        )
    checks.check_pictures(cfg, "figures")
    checks.check_pictures(cfg, "animation")
    animation_formats.possible(cfg.animation.formats)
    checks.check_range(cfg, "tracking.series_points", 0)
    n_draws = cfg.data.get("n_draws") if isinstance(cfg.data, DictConfig) else None
    if isinstance(n_draws, int | float):
        rows = [row for row in cfg.data.get("locs") or [] if isinstance(row, ListConfig)]
        check_memory("data.n_draws", float(n_draws) * BYTES_A_DRAW * max(map(len, rows), default=1))


def _check_search(cfg: DictConfig) -> None:
    for place, schema in SEARCH_SCHEMAS.items():
        keys = list(schema.__dataclass_fields__)
        for name in OmegaConf.select(cfg, place):
            if name not in keys:  # `+` can add any key
                raise checks.unknown_key(f"{place}.{name}", place, str(name), keys)
    for name, least in (
        ("points", 16),
        ("rows", 16),
        ("kept", 1),
        ("passes", 1),
        ("rounds", 0),
        ("screening", 1),
        ("finalists", 1),
        ("places", 1),
    ):
        checks.check_range(cfg, f"search.{name}", least)
    checks.check_range(cfg, "search.mixtures", cfg.search.kept + 1)
    checks.check_real(cfg, "search.patience", 1.0, None)
    checks.check_real(cfg, "search.margin", 0.0, None)
    checks.check_real(cfg, "search.narrowest", 1e-6, 1.0)
    for name in cfg.search.moves:
        checks.check_real(cfg, f"search.moves.{name}", 0.0, None)
    if not sum(cfg.search.moves.values()):
        raise InputError(
            "search.moves",
            expected="shares, one of them positive",
            came="none",
            remedy="Leave them out to use the defaults.",
        )


def _check_components(cfg: DictConfig) -> None:
    """Refuse invalid numbers of components, and criteria that lack what they need."""
    checks.check_choice(cfg, "criterion", CRITERIA)
    if cfg.n_components != AUTO:
        if type(cfg.n_components) is not int:
            raise InputError(
                "n_components",
                expected="a whole number, 1 or more, or auto",
                came=repr(cfg.n_components),
                remedy="For example n_components=2, or n_components=auto criterion=bic.",
            )
        checks.check_range(cfg, "n_components", 1)
        return
    checks.check_range(cfg, "selection.smallest", 1)
    checks.check_range(cfg, "selection.largest", cfg.selection.smallest)
    for number, kind in enumerate(cfg.selection.scales):
        if kind not in config.Scales.__members__:
            checks.check_choice(cfg, f"selection.scales[{number}]", list(config.Scales.__members__))
    if not cfg.selection.scales:
        raise InputError(
            "selection.scales",
            expected="free, equal or both",
            came="none",
            remedy="For example selection.scales=[free].",
        )
    if cfg.criterion == "held_out" and not cfg.folds:
        raise InputError(
            "folds", expected="2 or more where criterion=held_out", came="0", remedy="For example folds=10."
        )
    if cfg.criterion == LIKELIHOOD_RATIO and not cfg.likelihood_ratio:
        raise InputError(
            "likelihood_ratio",
            expected="a number of replicates where criterion=likelihood_ratio",
            came="0",
            remedy="For example likelihood_ratio=99.",
        )


def check_memory(where: str, wanted: float) -> None:
    """Refuse what would not fit into memory.

    Args:
        where: the keys that ask for it.
        wanted: bytes.

    Raises:
        InputError: it does not fit.
    """
    if wanted > memory():
        raise InputError(
            where,
            expected=f"what fits into the memory of this machine, {memory() / 1e9:.1f} GB",
            came=f"arrays of about {wanted / 1e9:.3g} GB",
            remedy="Use fewer observations, components or steps, or a larger history_every.",
        )


def check_prior(prior: Plugin, n_columns: int) -> Plugin:
    """A prior, if it is one for data of so many columns.

    Args:
        prior: of the config.
        n_columns: d, or 0 for one column.

    Raises:
        InputError: it is not.
    """
    if n_columns and not traits(prior.function).several_columns:
        declared = [function for function in vars(priors).values() if is_declared(function)]
        known = [prior.__name__ for prior in declared if traits(prior).several_columns]
        raise InputError(
            "prior",
            expected=f"{', '.join(known[:-1])} or {known[-1]} for several columns",
            came=prior.function.__name__,
            remedy="Choose one of these; prior=flat is maximum likelihood.",
        )
    return prior
