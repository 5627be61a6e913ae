"""Covariance models of several columns: which of volume, shape and orientation the components share.

Σ_k = λ_k D_k A_k D_kᵀ with volume λ_k, shape A_k (diagonal, of determinant 1) and orientation D_k (Celeux & Govaert
1995). A model's three letters say whether each is equal, variable or, as identity, absent (Fraley & Raftery 2002): EEV
has equal volumes and shapes and variable orientations.

Where columns are too many for that, Σ_k = L_k L_kᵀ + Ψ_k with q factors, d × q loadings L_k and a diagonal Ψ_k of
uniquenesses (mixtures of factor analysers; Ghahramani & Hinton 1996; McLachlan & Peel 2000, ch. 8). Nothing is shared:
it is UUU in the names of McNicholas & Murphy (2008).
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
FACTOR = "factor"
NAMES = (*MODELS, FACTOR)
"""All covariance models."""
ALIASES = {"spherical": "VII", "diagonal": "VVI", "tied": "EEE", "full": "VVV"}


class Kind(Enum):
    """How components of a model are represented in a fit."""

    SPHERICAL = "spherical"
    DIAGONAL = "diagonal"
    FULL = "full"
    """Covariances without further structure, each or one for all: invariant to every affine map."""
    ORIENTED = "oriented"
    """Orientations apart from shapes."""
    FACTOR = "factor"
    """Loadings of a few factors, and uniquenesses."""


class Sharing(NamedTuple):
    """What the components of a model share."""

    volume: bool
    shape: bool
    orientation: bool


def model_of(name: str, key: str = "covariance", among: tuple[str, ...] = NAMES) -> str:
    """The name of a covariance model, from this name or an alias.

    Args:
        name: one of `NAMES` or `ALIASES`, in upper or lower case.
        key: of the config that it came from, for the message.
        among: models that are possible.

    Raises:
        InputError: there is no such model.
    """
    found = name.lower() if name.lower() == FACTOR else ALIASES.get(name, name.upper())
    if found in among:
        return found
    close = nearest(name, [*ALIASES, *among])
    raise InputError(
        key,
        expected=f"a covariance model: {', '.join(among)}, or {', '.join(ALIASES)}",
        came=repr(name),
        remedy=f"Did you mean {' or '.join(close)}?" if close else f"For example {key}=full.",
    )


def kind_of(model: str) -> Kind:
    """How components of a model are represented in a fit."""
    if model == FACTOR:
        return Kind.FACTOR
    if model in ("EEE", "VVV"):
        return Kind.FULL
    if model.endswith(IDENTITY):
        return Kind.SPHERICAL if model[1] == IDENTITY else Kind.DIAGONAL
    return Kind.ORIENTED


def sharing_of(model: str) -> Sharing:
    """What the components of a model share; an identity counts as shared."""
    return Sharing(*(letter != VARIABLE for letter in model))


def number_of_parameters(model: str, n_components: int, n_columns: int, factors: int = 0) -> int:
    """Free parameters of a mixture: K − 1 weights, K d locs and those of the covariances.

    Volumes: 1 or K; shapes: d − 1 or K (d − 1); orientations: d (d − 1) / 2 or K times that; none of what is an
    identity (Celeux & Govaert 1995, table 1). Of factors: d q loadings, of which q (q − 1) / 2 are fixed by the choice
    of a rotation, and d uniquenesses, times K.

    Args:
        model: one of `NAMES`.
        n_components: K.
        n_columns: d.
        factors: q; other models have none.
    """
    if model == FACTOR:
        of_each = n_columns * factors - factors * (factors - 1) // 2 + n_columns
        return n_components - 1 + n_components * (n_columns + of_each)
    each = (1, n_columns - 1, n_columns * (n_columns - 1) // 2)
    times = {EQUAL: 1, VARIABLE: n_components, IDENTITY: 0}
    covariances = sum(times[letter] * number for letter, number in zip(model, each, strict=True))
    return n_components - 1 + n_components * n_columns + covariances


def most_factors(n_columns: int) -> int:
    """The most factors that covariances of so many columns can identify: the largest q with (d − q)² ≥ d + q.

    With more, the loadings and uniquenesses would be more numbers than a covariance has (Ledermann 1937).

    Args:
        n_columns: d.
    """
    return max(q for q in range(n_columns + 1) if (n_columns - q) ** 2 >= n_columns + q or q == 0)


def of_one_component(model: str) -> str:
    """The first model that is the same for one component, of which there is nothing to share."""
    return model.replace(VARIABLE, EQUAL)


def contains(model: str, other: str) -> bool:
    """Whether every mixture of another model, with as many components, is one of this model.

    Args:
        model: one of `NAMES`.
        other: one of `NAMES`.
    """
    if FACTOR in (model, other):
        return model == other or (other.endswith(IDENTITY) if model == FACTOR else model == "VVV")
    wider = {EQUAL: (EQUAL, IDENTITY), VARIABLE: (VARIABLE, EQUAL, IDENTITY), IDENTITY: (IDENTITY,)}
    return all(theirs in wider[own] for own, theirs in zip(model, other, strict=True))


def rows_needed(model: str, n_columns: int, factors: int = 0) -> int:
    """Fewest data with which a component cannot become flat: d + 1 where it has a shape along axes that turn.

    Fewer lie in a plane, to which one of the axes turns, their own or that of all. With q factors q + 2, since q + 1
    data lie in a space that the loadings span.

    Args:
        model: one of `NAMES`.
        n_columns: d.
        factors: q; other models have none.
    """
    if model == FACTOR:
        return factors + 2
    volume, shape, orientation = model
    if shape == VARIABLE:
        return 2 if orientation == IDENTITY else n_columns + 1
    return 1 if volume == EQUAL else 2


def rows_needed_in_all(model: str, n_components: int, n_columns: int, factors: int = 0) -> int:
    """Fewest data with which no component can become flat, if each has as many as suit the model best.

    Args:
        model: one of `NAMES`.
        n_components: K.
        n_columns: d.
        factors: q; other models have none.
    """
    each, beyond = needed_beyond(model, n_columns)
    return max(n_components * rows_needed(model, n_columns, factors), n_components * each + beyond)


def needed_beyond(model: str, n_columns: int) -> tuple[int, int]:
    """How many data of each component say nothing of a shape that all share, and how many must be there besides.

    Where one shape turns with each component, the d data of each may lie in a plane. Otherwise the first of each is
    where it is, and the others must extend in all directions, one after the other if these are not those of columns.

    Args:
        model: one of `NAMES`.
        n_columns: d.

    Returns:
        Zeros where components have shapes of their own.
    """
    if model == FACTOR or model[1] == VARIABLE:
        return 0, 0
    if model[2] == VARIABLE:
        return n_columns, 1
    return 1, n_columns if model[2] == EQUAL else 1
