"""What a fit must know about a prior before it calls it, and what a prior may know of the fit."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gmm_pipeline.model.mixture import AnyArray, Scalar

Prior = TypeVar("Prior", bound=Callable[..., Float[Array, ""]])
_TRAITS = "prior_traits"


class Setting(NamedTuple):
    """What a prior of several columns may know of the fit besides the mixture: arrays, in the units of the fit."""

    mean: Float[AnyArray, " d"]
    """Of all data."""
    covariance: Float[AnyArray, "d d"] | Float[AnyArray, " d"]
    """Of all data; its diagonal where axes are those of the columns."""
    is_one: Bool[AnyArray, ""]
    """Whether all components have the same covariance."""
    is_round: Bool[AnyArray, ""]
    """Whether covariances are multiples of the identity."""

    @property
    def columns_together(self) -> int:
        """How many columns have one covariance matrix: d, or 1 where axes are those of the columns."""
        return self.covariance.shape[-1] if self.covariance.ndim > 1 else 1

    def share(self, active: Bool[AnyArray, " K"]) -> Float[Array, ""]:
        """The share that each component has in the density of a covariance: 1/K where there is one for all."""
        return jnp.where(self.is_one, 1.0 / jnp.sum(active, dtype=self.mean.dtype), 1.0)


class Added(NamedTuple):
    """Observations that a prior adds to each component in EM's maximisation."""

    locs: Scalar
    covariances: Scalar


class Traits(NamedTuple):
    """What a fit must know about a prior before it calls it."""

    sticks: bool = False
    """Whether weights are to be optimised as broken sticks (`sticks.py`) rather than as log weights."""
    learned: tuple[str, ...] = ()
    """Positive hyperparameters that are optimised, as logarithms, with the parameters, starting at the config's
    values."""
    pseudo_count: Callable[..., Scalar] | None = None
    """Hyperparameters -> pseudo-observations that the prior adds to each component, if it does nothing else; else
    None."""
    several_columns: bool = True
    """Whether it is a prior for data of several columns, too."""
    of_columns: bool = False
    """Whether it is about the columns as they are, so that data of several may not be whitened for the fit."""
    added: Callable[..., Added] | None = None
    """(active, setting, *, hyperparameters) -> observations that the prior adds to the locs and covariances of several
    columns; None for none."""
    added_to_column: Callable[..., Added] | None = None
    """Hyperparameters -> the same for a loc and a variance of one column; None for none."""
    conjugate: bool = False
    """Whether EM is exact with what the prior adds."""


def declare(declared: Traits) -> Callable[[Prior], Prior]:
    """Decorate a prior with its traits."""

    def attach(prior: Prior) -> Prior:
        setattr(prior, _TRAITS, declared)
        return prior

    return attach


def traits(prior: Callable[..., object]) -> Traits:
    """The traits that a prior declares, or the defaults."""
    return getattr(prior, _TRAITS, Traits())


def is_declared(function: object) -> bool:
    """Whether it is a prior with declared traits."""
    return hasattr(function, _TRAITS)
