"""The reasons to doubt a fit, which of them bar it from a selection, and their wording."""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from gmm_pipeline.model.vocabulary import SAME_OPTIMUM


class Reason(StrEnum):
    """A reason to doubt a fit; the values are those of records and tables."""

    DIVERGED = "diverged"
    DEGENERATE = "degenerate"
    COLLAPSING = "collapsing"
    """It has not converged, and a component narrows onto one value of the data, where the likelihood is unbounded."""
    COINCIDENT = "coincident"
    """Components that coincide: merged, they have the same likelihood."""
    SADDLE = "saddle"
    """It converged, but its log posterior rises in some direction."""
    MISSED = "missed"
    """Its log posterior is below that of a mixture with fewer parameters, which its model contains."""
    REDUNDANT = "redundant"
    """Its likelihood is that of a mixture with fewer parameters."""
    ROUNDED = "rounded"
    """A component narrower than the rounding of the data, on one of many values or lines of their grid."""
    OUTDONE = "outdone"
    """A larger fit, whose components coincide, is a better fit of this model."""
    TIED = "tied"
    """Many data have one value, at which a component collapses; rounded data do not count."""
    UNRESOLVED = "unresolved"
    """Data that differ are equal in the precision of the fit."""
    NARROW = "narrow"
    """A better mixture is left out, in which different data lie closer together than the floor of the scales."""
    ONE_VALUE = "one_value"
    """A better mixture is left out, in which the data of a component are one value of some column."""
    UNSEEN = "unseen"
    """No datum of a component has a value in a column, so that its loc there is not determined."""
    FEW = "few"
    """A component of several columns has fewer data than numbers of its own."""


OF_LEFT_OUT = frozenset({Reason.NARROW, Reason.ONE_VALUE})
"""Reasons that are mixtures which were left out."""
BARRING = frozenset(Reason) - OF_LEFT_OUT - {Reason.OUTDONE, Reason.TIED, Reason.UNRESOLVED, Reason.UNSEEN, Reason.FEW}
"""Reasons that bar a fit; not those by which it is better than it seems, or that apply to all candidates."""


BY_COMPARISON = frozenset({Reason.MISSED, Reason.REDUNDANT, Reason.OUTDONE, *OF_LEFT_OUT})
"""Reasons that other candidates can show."""


class Doubt(NamedTuple):
    """One reason, and its details."""

    reason: Reason
    components: tuple[int, ...] = ()
    nats: float = math.nan
    """How far the fit is below another mixture, in nats of the log posterior, or of a criterion."""
    other: str = ""
    """Description of the fit that shows it, or the number that does."""
    of_likelihood: float = math.nan
    """Of the nats to a mixture that the model contains, those of the log-likelihood alone."""


def barred(degenerate: Sequence[int], doubts: Sequence[Doubt], *, diverged: bool) -> Reason | None:
    """The first reason that bars a fit from being chosen; None if there is none.

    Args:
        degenerate: degenerate components.
        doubts: what else is known against the fit.
        diverged: whether it diverged.
    """
    reasons = {doubt.reason for doubt in doubts} | ({Reason.DEGENERATE} if degenerate else set())
    reasons |= {Reason.DIVERGED} if diverged else set()
    return next((reason for reason in Reason if reason in reasons & BARRING), None)


def clause_of(doubt: Doubt, *, of_columns: bool = False) -> str:
    """A doubt as a clause: what was seen, what it means and what to do.

    Args:
        doubt: about a fit.
        of_columns: whether it is one of several columns.
    """
    which = listed([str(component) for component in doubt.components])
    match doubt.reason:
        case Reason.COLLAPSING:
            plural = len(doubt.components) > 1
            return (
                f"component{'s' * plural} {which} {'were' if plural else 'was'} narrowing onto one value of the data "
                "when the steps ran out, so that it may collapse, where the likelihood is unbounded; use scales=equal, "
                "a prior on scales or fewer components, or more steps to see where it ends"
            )
        case Reason.COINCIDENT:
            return (
                f"components {which} coincide as far as the data can show: merged, they have the same "
                "log-likelihood, so this is a fit of fewer components; use fewer, or more restarts"
            )
        case Reason.SADDLE:
            return (
                f"not a maximum: the log posterior rises from here by {doubt.nats:.2g} nats or more without a dip; use "
                "more restarts, or another seed"
            )
        case Reason.MISSED:
            return (
                f"below a mixture that its model contains: {doubt.other} reach {doubt.nats:.2g} nats more, so a "
                "better optimum was missed or is degenerate; use more restarts"
            )
        case Reason.REDUNDANT:
            return f"no better than {doubt.other}, whose log-likelihood is the same to {SAME_OPTIMUM} nats"
        case Reason.ROUNDED:
            plural = len(doubt.components) > 1
            return (
                f"component{'s' * plural} {which} {'are' if plural else 'is'} narrower than the rounding of the data, "
                f"on {'single lines' if of_columns else 'single values'} of their grid beside others like "
                f"{'them' if plural else 'it'}: an artefact of ties; use fewer components or a larger scale_floor"
            )
        case Reason.OUTDONE:
            return (
                f"the best optimum was missed: {doubt.other}, two of which coincide, reach {doubt.nats:.2g} nats more; "
                "use more restarts"
            )
        case Reason.TIED:
            tied, remedy = ("row", "covariance=tied") if of_columns else ("value", "scales=equal")
            return (
                f"{doubt.other} of the data have the same {tied}, which no density describes: a component on them "
                f"collapses; leave them out, or use {remedy}"
            )
        case Reason.UNRESOLVED:
            return f"{doubt.other} of the data differ by less than float32 resolves; use precision=float64"
        case Reason.NARROW | Reason.ONE_VALUE:
            better = f"{doubt.other} would be" if doubt.other else "another mixture is"
            penalised = " by the criterion" if doubt.other else ""
            why, remedy = (
                "a component at the floor of the scales holds data that differ; if these can lie so close together",
                "use a smaller scale_floor_of_many, such as a tenth of it, and again while this is said",
            )
            if doubt.reason == Reason.ONE_VALUE:
                why, remedy = (
                    "all data of a component are one value of a column, where the likelihood has no bound; if they are "
                    "a group of their own",
                    "use prior=weakly_informative or covariance=EEI, or leave that column out",
                )
            return (
                f"{better} about {doubt.nats:,.0f} nats better{penalised}, but left out as degenerate: {why}, {remedy}"
            )
        case Reason.UNSEEN:
            return (
                f"no row of component {which} has a value in column {doubt.other!r}: its loc there, like any other "
                "number without an error, is not determined; use fewer components, or drop the column"
            )
        case Reason.FEW:
            return (
                f"component {which} has the weight of {doubt.other} numbers of its own: it may be chance, and its "
                "errors say little; use fewer components, a smaller covariance model or a prior on covariances"
            )
        case _:
            return str(doubt.reason)


def named(n_components: int, *, equal_scales: bool, covariance: str = "") -> str:
    """The name of a model.

    Args:
        n_components: K.
        equal_scales: whether all components share one scale.
        covariance: covariance model; empty for one column.
    """
    if covariance:
        return f"{covariance} with {n_components} component{'s' * (n_components != 1)}"
    if n_components == 1:
        return "1 component"
    return f"{n_components} components with {'equal' if equal_scales else 'free'} scales"


def listed(names: Sequence[str]) -> str:
    """Names joined as in a sentence."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "") if part)
