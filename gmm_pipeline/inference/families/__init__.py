"""Families of components: the one place that knows the shape of a datum and of a component's parameters.

Everything else (batches, optimizers, restarts, the search, selection) works for any family. A family is a value of
functions, so that it can be part of what decides a program.

| stage | functions |
| --- | --- |
| inside a program | `mixture_of`, `unconstrained_of`, `em_step`, `gradient_norm`, `lay_out`, `log_likelihood_of` |
| about a program | `fuses`, `compiler_options` |
| on the host | `zeros`, `constraints_of`, `natural`, `degenerate`, `spread_of`, `blurred` |
| the search's moves | `condensed`, `landscape`, `fresh`, `varied`, `neighbours`, `split`, `merges` |
| comparisons | `in_order`, `distances`, `halved`, `merged`, `fewest_data` |
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Family(NamedTuple):
    """What a component is."""

    made_by: tuple[Callable[..., Any], tuple[Any, ...]]
    """A function of a module and its arguments: how another process makes the same family, functions and all."""
    name: str
    n_columns: int
    """d, or 0 where a datum is a number."""
    cost: int
    """About how many times more work a datum and a component are than those of one column."""
    overhead: int
    """Of about how many data a component is the work that a step has besides, such as factors of matrices."""
    zeros: Callable[..., Any]
    """(n_components, dtype) -> parameters, for their shapes."""
    mixture_of: Callable[..., Any]
    """(free, constraints, sticks=) -> parameters."""
    unconstrained_of: Callable[..., Any]
    """(parameters, learned, constraints, sticks=) -> free."""
    em_step: Callable[..., Any]
    """(free, gradient, problem) -> free; see `em.em_step`."""
    gradient_norm: Callable[..., Any]
    """(gradient in nats, free after a step of EM, mixture, problem) -> length in standard errors."""
    lay_out: Callable[..., Any]
    """(data, sample_weights, fused=) -> data as the log-likelihood takes them."""
    log_likelihood_of: Callable[..., Any]
    """(parameters, laid_out, active=, fused=) -> nats; of a family with noise also noise=, its log density."""
    fuses: Callable[[int], bool]
    """n_components, as padded -> whether a fused form of the log-likelihood is worth compiling."""
    compiler_options: Callable[..., Any]
    """fused -> options of XLA."""
    spread_of: Callable[..., Any]
    """job -> spread of its data in the units of the fit: a standard deviation, or a covariance."""
    constraints_of: Callable[..., Any]
    """(job, active, spread) -> constraints, arrays."""
    natural: Callable[..., Any]
    """parameters -> mixture in natural parameters, float64; its weights lack that of the noise."""
    degenerate: Callable[..., Any]
    """(job, parameters, spread) -> which components are degenerate."""
    blurred: Callable[..., Any]
    """(job, parameters, blur, spread) -> parameters: 0 the same, 1 equal weights and wide components."""
    condensed: Callable[..., Any]
    """(job, plan) -> fewer data and their weights, for the search."""
    landscape: Callable[..., Any]
    """(data, sample_weights, job, plan, spread) -> what moves need to know of the data."""
    fresh: Callable[..., Any]
    """(generator, landscape, n, n_components) -> parameters."""
    varied: Callable[..., Any]
    """(generators, landscape, kept, n_kept, numbers) -> parameters."""
    neighbours: Callable[..., Any]
    """(data, sample_weights) -> places where the data lie closer together than a mixture has them, or None."""
    in_order: Callable[..., Any]
    """parameters -> parameters."""
    distances: Callable[..., Any]
    """(one, others) -> distances between mixtures in order."""
    split: Callable[..., Any]
    """(job, parameters, component, equal) -> parameters with one component more, whose halves share what is equal."""
    halved: Callable[..., Any]
    """(parameters, component) -> the same density with the component in two equal halves."""
    merged: Callable[..., Any]
    """(job, parameters, one, other) -> parameters with both components as one, which keeps what is shared."""
    fewest_data: Callable[..., Any]
    """job -> data that a component needs."""
    merges: Callable[..., Any]
    """parameters -> mixtures with one component fewer."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.made_by


def no_neighbours(*_: Any) -> None:
    """`Family.neighbours` where no places are looked for: of one column, with noise, missing cells or factors."""
