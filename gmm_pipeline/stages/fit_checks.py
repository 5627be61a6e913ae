"""Checks of a fit's config beyond its schema: what criteria need, and what fits into this machine."""

import functools
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from gmm_pipeline.analysis.estimates import Asked, is_settled
from gmm_pipeline.configuration import animation_formats
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.configuration.targets import check_allowed
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model import priors
from gmm_pipeline.model.covariances import FACTOR
from gmm_pipeline.model.prior_traits import is_declared, traits
from gmm_pipeline.model.vocabulary import LIKELIHOOD_RATIO
from gmm_pipeline.records.assignments import bytes_of_assignments
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.records.provenance import memory

AUTO = "auto"
"""Stands for a number of components that is to be chosen."""
BYTES_A_DRAW = 64
"""Memory that drawing takes: the draws in two precisions, their components, and copies."""


def check_config(cfg: DictConfig) -> None:
    """Refuse settings that exclude each other, and what this machine cannot make.

    Args:
        cfg: the resolved config of a fit, whose values are those of the schema.

    Raises:
        InputError: which key.
    """
    check_allowed(OmegaConf.select(cfg, "plugins.allow") or ())
    _check_selection(cfg)
    _check_search(cfg)
    if cfg.minibatch and cfg.search.rounds:
        raise InputError(
            "minibatch",
            expected="0 where the best optimum is searched for, since a search of large data sees few of them anyway",
            came=str(cfg.minibatch),
            remedy="Add search=none: the answer is then the best of the starts.",
        )
    rate = cfg.optimizer.get("learning_rate")
    if isinstance(rate, int | float) and not 0.0 < rate < math.inf:
        raise InputError(
            "optimizer.learning_rate",
            expected="a positive number",
            came=repr(rate),
            remedy="Leave optimizer.learning_rate out to use the default.",
        )
    animation_formats.possible(cfg.animation.formats)
    n_draws = cfg.data.get("n_draws")
    if isinstance(n_draws, int | float):
        locs = cfg.data.get("locs")
        rows = [row for row in locs if isinstance(row, ListConfig)] if isinstance(locs, ListConfig) else []
        check_memory("data.n_draws", float(n_draws) * BYTES_A_DRAW * max(map(len, rows), default=1))


def _check_search(cfg: DictConfig) -> None:
    if cfg.search.mixtures <= cfg.search.kept:
        raise InputError(
            "search.mixtures",
            expected=f"more than search.kept, {cfg.search.kept}",
            came=str(cfg.search.mixtures),
            remedy="The others are the new mixtures of a round.",
        )
    if not sum(cfg.search.moves.values()):
        raise InputError(
            "search.moves",
            expected="shares, one of them positive",
            came="none",
            remedy="Leave them out to use the defaults.",
        )


def _check_selection(cfg: DictConfig) -> None:
    """Refuse criteria that lack what they need."""
    if cfg.n_components != AUTO:
        return
    if cfg.selection.largest < cfg.selection.smallest:
        raise InputError(
            "selection.largest",
            expected=f"selection.smallest, {cfg.selection.smallest}, or more",
            came=str(cfg.selection.largest),
            remedy=f"For example selection.largest={cfg.selection.smallest + 1}.",
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


def without_effect(asked: Asked) -> list[str]:
    """Keys that were set and have no effect in this fit, each as a sentence.

    Args:
        asked: what a run asks for.
    """
    said = []
    if is_settled(asked) and asked.criterion != _default("criterion"):
        said.append(f"criterion={asked.criterion} has no effect: nothing is chosen where n_components is a number.")
    if FACTOR not in asked.covariances and asked.factors != _default("factors"):
        said.append(f"factors={asked.factors} has no effect without covariance={FACTOR}.")
    return said


@functools.cache
def _default(key: str) -> Any:
    return OmegaConf.select(OmegaConf.load(config_directory() / "fit.yaml"), key)


TOO_LARGE = "Use fewer observations, components or steps, or a larger history_every."


def check_memory(where: str, wanted: float, remedy: str = TOO_LARGE) -> None:
    """Refuse what would not fit into memory.

    Args:
        where: the keys that ask for it.
        wanted: bytes.
        remedy: what to do about it.

    Raises:
        InputError: it does not fit.
    """
    if wanted > memory():
        raise InputError(
            where,
            expected=f"what fits into the memory of this machine, {memory() / 1e9:.1f} GB",
            came=f"arrays of about {wanted / 1e9:.3g} GB",
            remedy=remedy,
        )


def check_disk(folder: Path, fitted: Iterable[Dataset]) -> None:
    """Refuse records that would not fit onto a disk even with one component each, before any work.

    Args:
        folder: where they will be; it need not exist.
        fitted: the data of each.

    Raises:
        InputError: there is less free space.
    """
    wanted = sum(bytes_of_assignments(len(one.data), math.prod(one.data.shape[1:]), 1) for one in fitted)
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise InputError(
            str(folder),
            expected=f"free space for the labels of all observations, {wanted / 1e9:.3g} GB or more",
            came=f"{free / 1e9:.3g} GB",
            remedy="Free some, choose outputs_dir on another disk, or fit fewer runs or observations.",
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
