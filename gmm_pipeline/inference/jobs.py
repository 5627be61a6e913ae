"""Inputs and outputs of a fit: the plan, the job, its history and its result."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num, PRNGKeyArray

from gmm_pipeline.errors import InputError
from gmm_pipeline.inference import em, tracing
from gmm_pipeline.inference.families import Family
from gmm_pipeline.inference.families.normal import NORMAL
from gmm_pipeline.inference.padding import padded_components
from gmm_pipeline.inference.parameterization import learned_by, number_of_parameters
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.model import covariances
from gmm_pipeline.model.mixture import AnyArray
from gmm_pipeline.model.multivariate import AnyParameters
from gmm_pipeline.model.prior_traits import Setting, traits


class FitPlan(NamedTuple):
    """The functions and choices that make up a fit; hashable."""

    n_components: int
    init: Plugin
    """(key, data, sample_weights, n_components) -> Parameters."""
    log_prior: Plugin
    """Parameters, or parameters and which components are active -> log density, in nats."""
    optimizer: Plugin
    """() -> optax transformation."""
    schedule: Plugin
    """() -> (step -> factor on the update)."""
    average_loss: bool
    """Whether the optimizer sees the mean loss per observation rather than the total."""
    as_written: bool
    """Whether hyperparameters are constants of the program, components are not padded, and nothing is fused."""
    fused: bool = False
    """Whether the fused form of the log-likelihood is compiled; see `objective.py`."""
    family: Family = NORMAL
    minibatch: int = 0
    """Data that a step sees, drawn anew for each; 0 for all."""

    def of_family(self, family: Family, most_components: int) -> "FitPlan":
        """The plan for components of this family, in the form that is faster.

        Args:
            family: of the components.
            most_components: that fits which share the program have.
        """
        fused = not self.as_written and family.fuses(padded_components(most_components))
        return self._replace(family=family, fused=fused)


class Moves(NamedTuple):
    """Shares of the moves among the new mixtures of a search round; see `search_moves.py`."""

    swap: float
    split: float
    nest: float
    join: float
    fresh: float


class FirstMixtures(NamedTuple):
    """Hyperparameters of the starts that a search begins with; see `various` in `model/inits.py`."""

    quantile: float
    kmeans: float
    jitter: float
    overlap: float
    smallest_scale: float
    narrowest: float


MORE_FOR_A_COLUMN = 0.1
"""Share of `search.margin` that each column adds to it."""


class SearchPlan(NamedTuple):
    """How thorough a search for the best optimum is; hashable. See `search.py`."""

    points: int
    """Most groups of data that a search sees, of one column."""
    rows: int
    """Most data that a search sees, of several columns."""
    most_data: int
    """Most data of one column that searches and starts see as they are."""
    most_rows: int
    """The same of several columns."""
    condensed_to: int
    """Groups of one column, or rows of several, that searches and starts see of more data."""
    mixtures: int
    """Mixtures of a search at a time."""
    kept: int
    """How many of them are kept and varied in a round."""
    passes: int
    """Evaluations of each mixture in a round."""
    rounds: int
    """Most rounds."""
    least_rounds: int
    """For each component of several columns, rounds before a search may end because all agree."""
    patience: float
    """A search ends after this many times the rounds after which its best optimum was last improved."""
    screening: int
    """Rounds for each fit of a selection."""
    margin: float
    """A fit of a selection that is more nats behind the best one is not searched with all rounds; see `margin_of`."""
    finalists: int
    """Distinct mixtures, from all searches together, that are improved on all data."""
    work: float
    """(Data + overhead) × components × their cost up to which a search has all its mixtures at a time."""
    places: int
    """Candidate places that are compared when a component is inserted."""
    narrowest: float
    """Least scale of an inserted component, as a share of the data's standard deviation."""
    moves: Moves
    starts: FirstMixtures

    def affordable(self, work: float | int) -> "SearchPlan":
        """A search with fewer mixtures at a time, at least a quarter, where evaluating one takes more than `work`.

        Beyond a quarter of `work` there are also fewer rounds, at least two thirds: most searches end before.

        Args:
            work: of evaluating a mixture: (data + overhead) × components × their cost, as its family has them.
        """
        share = min(1.0, max(self.work / max(work, 1.0), 0.25))
        part = max(0.25 * self.work / max(share * work, 1.0), 2.0 / 3.0)
        own = self._replace(rounds=min(self.rounds, max(self.screening, round(part * self.rounds))))
        if share == 1.0:
            return own
        mixtures, kept = max(2, round(share * self.mixtures)), max(1, round(share * self.kept))
        return own._replace(mixtures=mixtures, kept=min(kept, mixtures - 1))

    def margin_of(self, n_columns: int) -> float:
        """The margin of several columns, in which short searches end farther below the best optimum.

        Args:
            n_columns: d; 0 for one column.
        """
        return self.margin * (1.0 + MORE_FOR_A_COLUMN * n_columns)

    @property
    def short(self) -> "SearchPlan":
        """A shorter search for one of many fits: fewer rounds, two thirds of the passes, half of the finalists."""
        if self.rounds <= self.screening:
            return self
        return self._replace(
            rounds=self.screening,
            passes=max(1, 2 * self.passes // 3),
            finalists=max(1, self.finalists // 2),
        )

    @property
    def screen(self) -> "SearchPlan":
        """The search that screens all fits of a selection, before those that may win are searched in full."""
        return self.short._replace(finalists=1)


class FitJob(NamedTuple):
    """Everything that decides a fit, in the units of the fit."""

    data: Any
    """[n] or [n, d], an array; many data are `InUnits`, which become one where a fit needs all at once."""
    sample_weights: Float[np.ndarray, " n"]
    key: PRNGKeyArray | Num[AnyArray, "2"]
    plan: FitPlan
    steps: int
    """Most steps."""
    history_every: int
    restarts: int
    """Number of starts; the best sound one is the answer."""
    equal_scales: bool
    """Whether all components share one scale."""
    scale_floor: float
    """Least scale of a component, as a share of the data's standard deviation; 0 for none."""
    fewest_data: float
    """A component with the weight of fewer observations is degenerate."""
    tolerance: float
    """Nats of log posterior; a fit whose steps gain less may stop. 0: never stop."""
    gradient_tolerance: float
    """Length of the gradient, in standard errors; a fit with a shorter one may stop."""
    halves_apart: float
    """How far the halves of a split component start from its loc, in its scales; coinciding halves never separate."""
    begin: AnyParameters | None = None
    """Where to start, instead of where the plan's init says."""
    padded_to: int = 0
    """Least number of components to pad to, so that fits with different numbers share a program."""
    search: SearchPlan | None = None
    """The search for the best optimum, done `restarts` times; None to take the best of `restarts` starts."""
    trained: bool = True
    """Whether starts are trained as well; if not, the optimum of the search is the result."""
    penalty: float = 0.0
    """Nats that a parameter costs by the criterion of the selection to which the fit belongs."""
    log_volume: float | None = None
    """How much lower the log-likelihood is in the user's units, in which fits are compared; None: in their own."""
    seeds: tuple[AnyParameters, ...] = ()
    """Mixtures from elsewhere that the search improves besides its own."""
    covariance: str = ""
    """Covariance model of several columns, one of `covariances.NAMES`; empty for one column."""
    factors: int = 0
    """Of a component, where it is a model of factors."""
    noise: float | None = None
    """Log density of the noise component, in the units of the fit; None without one."""
    scale_floor_of_many: float = 0.0
    """Floor for components with many data, where these lie closer together than `scale_floor`; see `lowered`."""
    floor_of_few: float = 0.0
    """Scale below which a component with few data is degenerate, if above `scale_floor`."""
    few_are_narrow: bool = False
    """Whether components of even fewer data, down to the least in `narrow.fewest`, may be narrower than that."""
    rounding: Float[np.ndarray, "d d"] | None = None
    """A factor of the covariance that rounding alone gives several columns, in the units of the fit; None for exact."""
    finer: tuple[np.ndarray, np.ndarray] | None = None
    """Where the data are a part of very many: a larger part, and its sample weights."""

    @property
    def is_large(self) -> bool:
        """Whether there are more data than a search and starts see as they are."""
        if self.search is None:
            return False
        return len(self.data) > (self.search.most_rows if self.plan.family.n_columns else self.search.most_data)

    def lowered(self, *, few: bool) -> "FitJob":
        """The same fit with the floor of components with many data; those with few are degenerate as before.

        Args:
            few: whether few data are enough, since what was left out has so few and is no accident.
        """
        return self._replace(scale_floor=self.scale_floor_of_many, floor_of_few=self.scale_floor, few_are_narrow=few)

    @property
    def shape(self) -> tracing.Shape:
        """Shape of the data and parameters."""
        return tracing.Shape(self.plan.n_components, len(self.data), str(self.data.dtype), self.plan.family)

    @property
    def setting(self) -> Setting | None:
        """What the prior may know of a fit of several columns; None where it does not ask."""
        family = self.plan.family
        if not family.n_columns or self.plan.log_prior.number_of_data() < 3:
            return None
        active = np.ones(self.plan.n_components, bool)
        return family.constraints_of(self, active, family.spread_of(self)).setting

    @property
    def n_parameters(self) -> int:
        """Free parameters of the mixture; the noise has two, its weight and its volume, as in mclust."""
        more = 2 * (self.noise is not None)
        if self.covariance:
            numbers = self.plan.n_components, self.data.shape[1], self.factors
            return more + covariances.number_of_parameters(self.covariance, *numbers)
        return more + number_of_parameters(self.plan.n_components, equal_scales=self.equal_scales)


class HistoryEntry(NamedTuple):
    """An entry of the history."""

    parameters: AnyParameters
    learned: dict[str, Float[AnyArray, "*batch"]]
    """Hyperparameters that the prior learns, not their logarithms."""
    loss: Float[AnyArray, "*batch"]
    gradient_norm: Float[AnyArray, "*batch"]
    converged: Bool[AnyArray, "*batch"]
    """Whether the fit stopped here, or before."""


class FitResult(NamedTuple):
    """Where a start ended and how it got there, in the units of the fit."""

    parameters: AnyParameters
    learned: dict[str, float]
    """Hyperparameters that the prior learned."""
    steps: Int[np.ndarray, " H"]
    """Optimizer steps taken before each entry of the history."""
    history: HistoryEntry
    """Parameters [H, K] and loss [H], in nats, at those steps; the last entry is the final state."""
    diverged: bool
    """Whether the final loss or a final parameter is not finite."""
    converged: bool
    n_steps: int
    """Steps taken until it converged, or all."""
    gradient_norm: float
    """At the end, in standard errors; see `parameterization.gradient_norm`."""
    degenerate: tuple[int, ...]
    """Components at the floor of the scales, or with too few data."""
    restarts: "tuple[Restart, ...]" = ()
    """Outcome of each start of the run, in the result that is the run's answer."""
    searched: "Searched | None" = None
    """What the search says about the answer; None without a search."""
    n_finishing: int = 0
    """The last of the steps, which were passes of the search where the optimizer had used up its own."""
    n_condensed: int = 0
    """Groups or rows that searches and starts saw in place of large data; 0 where they saw all data."""


class Searched(NamedTuple):
    """What the search says about the answer."""

    n_searches: int
    n_agreeing: int
    """Independent searches that reached the optimum that is the answer."""
    log_posteriors: tuple[float, ...]
    """Of the distinct sound optima that were seen, the best first; in nats and float64."""
    n_rounds: int
    began: str
    """Where the training that the history shows began: one of `BEGINNINGS`."""
    narrow: "Narrow | None" = None
    """A clearly better mixture that is left out for components at the floor of the scales with many data."""

    @property
    def gap(self) -> float | None:
        """Nats from the best optimum to the next; None where no other was seen."""
        return self.log_posteriors[0] - self.log_posteriors[1] if len(self.log_posteriors) > 1 else None

    @property
    def left_out(self) -> float:
        """Nats from the answer to the mixture that is left out; −∞ for none."""
        return -math.inf if self.narrow is None else self.narrow.log_posterior - self.log_posteriors[0]


class Narrow(NamedTuple):
    """A mixture that is left out although each of its degenerate components has many data."""

    parameters: AnyParameters
    components: tuple[int, ...]
    """The degenerate ones."""
    log_posterior: float
    """In nats, on all data, less what the choice of few data may gain; see `narrow.by_chance`."""
    is_tied: bool = False
    """Whether the data of one of them are one value in some direction, so that the likelihood has no bound."""


ORDINARY, BLURRED, AT_OPTIMUM = BEGINNINGS = ("a start", "a blurred copy of the optimum", "the optimum itself")


class Restart(NamedTuple):
    """The outcome of one start."""

    log_posterior: float
    """Log-likelihood plus log prior in nats and float64, in the units of the fit."""
    outcome: str
    """One of `vocabulary.OUTCOMES`."""
    converged: bool
    n_steps: int


def split(job: FitJob) -> tuple[FitPlan, dict[str, dict[str, float]]]:
    """The plan of a run without the floats that may differ between runs, and these floats by plug-in and name."""
    plan, floats, shape = job.plan, {}, job.shape
    if tracing.leaves_out_components(plan.log_prior):
        # Programs pad the components, so one trace answers for many numbers of them.
        shape = shape._replace(n_components=padded_components(shape.n_components))
    for group, field in (("prior", "log_prior"), ("optimizer", "optimizer"), ("schedule", "schedule")):
        plugin: Plugin = getattr(plan, field)
        names = learned_by(plugin) if group == "prior" else ()
        names = names if plan.as_written else {*names, *tracing.varying(group, plugin, shape)}
        floats[group] = {name: value for name, value in plugin.hyperparameters if name in names}
        plan = plan._replace(**{field: plugin.without(names)})
    return plan, floats


def check(job: FitJob) -> None:
    """Trace a fit's plug-ins without running them, so that one that cannot work fails before any work starts.

    Raises:
        InputError: a plug-in fails; the message has its error.
    """
    plan = job.plan
    for group, plugin in (
        ("init", plan.init),
        ("prior", plan.log_prior),
        ("schedule", plan.schedule),
        ("optimizer", plan.optimizer),
    ):
        tracing.check(group, plugin, job.shape)
    of_all = plan.optimizer.function in (em.em, em.squarem) or tracing.has_loop(plan.optimizer, job.shape)
    if plan.minibatch and of_all:
        raise InputError(
            "optimizer",
            expected="an optimizer that follows the gradient of some of the data, where minibatch is set",
            came=f"{plan.optimizer.function.__name__}, whose steps need all data",
            remedy="Use minibatch=0, or another optimizer, such as optimizer=adam.",
        )
    declared = traits(plan.log_prior.function)
    is_exact = declared.pseudo_count is not None or declared.conjugate
    if plan.optimizer.function in (em.em, em.squarem) and not is_exact:
        exact = "flat, dirichlet, normal_inverse_gamma, normal_inverse_wishart and variance_penalty"
        raise InputError(
            "optimizer",
            expected=f"an optimizer that follows gradients, since EM is exact for {exact} priors only",
            came=f"{plan.optimizer.function.__name__} with the prior {plan.log_prior.function.__name__}",
            remedy="Use prior=flat or prior=dirichlet, or another optimizer, such as optimizer=adam.",
        )
