"""Covariance models of several columns: which of volume, shape and orientation the components share.

Σ_k = λ_k D_k A_k D_kᵀ with volume λ_k, shape A_k (diagonal, of determinant 1) and orientation D_k (Celeux & Govaert
1995). A model's three letters say whether each is equal, variable or, as identity, absent (Fraley & Raftery 2002): EEV
has equal volumes and shapes and variable orientations.
"""

from enum import Enum
from typing import NamedTuple

from gmm_pipeline.errors import InputError, nearest

EQUAL, VARIABLE, IDENTITY = "E", "V", "I"
MODELS = (
    *("EII", "VII", "EEI", "VEI", "EVI", "VVI"),
    *("EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"),
)
"""From few parameters to many, by kind of orientation."""
ALIASES = {"spherical": "VII", "diagonal": "VVI", "tied": "EEE", "full": "VVV"}


class Kind(Enum):
    """How components of a model are represented in a fit."""

    SPHERICAL = "spherical"
    DIAGONAL = "diagonal"
    FULL = "full"
    """Covariances without further structure, each or one for all: invariant to every affine map."""
    ORIENTED = "oriented"
    """Orientations apart from shapes."""


class Sharing(NamedTuple):
    """What the components of a model share."""

    volume: bool
    shape: bool
    orientation: bool


def model_of(name: str, key: str = "covariance") -> str:
    """The name of a covariance model, from this name or an alias.

    Args:
        name: one of `MODELS` or `ALIASES`.
        key: of the config that it came from, for the message.

    Raises:
        InputError: there is no such model.
    """
    found = ALIASES.get(name, name.upper())
    if found in MODELS:
        return found
    close = nearest(name, [*ALIASES, *MODELS])
    raise InputError(
        key,
        expected=f"a covariance model: {', '.join(MODELS)}, or {', '.join(ALIASES)}",
        came=repr(name),
        remedy=f"Did you mean {' or '.join(close)}?" if close else f"For example {key}=full.",
    )


def kind_of(model: str) -> Kind:
    """How components of a model are represented in a fit."""
    if model in ("EEE", "VVV"):
        return Kind.FULL
    if model.endswith(IDENTITY):
        return Kind.SPHERICAL if model[1] == IDENTITY else Kind.DIAGONAL
    return Kind.ORIENTED


def sharing_of(model: str) -> Sharing:
    """What the components of a model share; an identity counts as shared."""
    return Sharing(*(letter != VARIABLE for letter in model))


def number_of_parameters(model: str, n_components: int, n_columns: int) -> int:
    """Free parameters of a mixture: K − 1 weights, K d locs and those of the covariances.

    Volumes: 1 or K; shapes: d − 1 or K (d − 1); orientations: d (d − 1) / 2 or K times that; none of what is an
    identity (Celeux & Govaert 1995, table 1).

    Args:
        model: one of `MODELS`.
        n_components: K.
        n_columns: d.
    """
    each = (1, n_columns - 1, n_columns * (n_columns - 1) // 2)
    times = {EQUAL: 1, VARIABLE: n_components, IDENTITY: 0}
    covariances = sum(times[letter] * number for letter, number in zip(model, each, strict=True))
    return n_components - 1 + n_components * n_columns + covariances


def of_one_component(model: str) -> str:
    """The first model that is the same for one component, of which there is nothing to share."""
    return model.replace(VARIABLE, EQUAL)


def contains(model: str, other: str) -> bool:
    """Whether every mixture of another model, with as many components, is one of this model.

    Args:
        model: one of `MODELS`.
        other: one of `MODELS`.
    """
    wider = {EQUAL: (EQUAL, IDENTITY), VARIABLE: (VARIABLE, EQUAL, IDENTITY), IDENTITY: (IDENTITY,)}
    return all(theirs in wider[own] for own, theirs in zip(model, other, strict=True))


def rows_needed(model: str, n_columns: int) -> int:
    """Fewest data that give a component a likelihood that is bounded: d + 1 where each has a covariance of its own.

    Args:
        model: one of `MODELS`.
        n_columns: d.
    """
    volume, shape, orientation = model
    if (shape, orientation) == (VARIABLE, VARIABLE):
        return n_columns + 1
    return 1 if volume == EQUAL and shape != VARIABLE else 2
