"""A mixture at large data, evaluated block by block when asked for, so that labels and responsibilities are never held.

The price: whatever needs them evaluates the mixture anew. Responsibilities of many data are computed in float64 and
given in float32, which halves what is written.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.model import portable
from gmm_pipeline.model.large_data import MANY, in_order, slices
from gmm_pipeline.model.natural import AnyMixture
from gmm_pipeline.records.assignments import Assignments, assignment_columns

T = TypeVar("T")
BLOCK = 2**18
"""Data of a block, a multiple of `portable.CHUNK`, and rows of a row group of Parquet."""


class Evaluated(NamedTuple):
    """A block of data under a mixture."""

    here: slice
    """Which of the data."""
    assignments: Assignments
    log_densities: Float[np.ndarray, " b"]
    """In nats, of a density per unit of the data."""


class Evaluations:
    """A mixture at data; what is true of all data is computed when it is asked for."""

    def __init__(
        self,
        components: AnyMixture,
        log_noise: float | None,
        data: Float[np.ndarray, "n ..."],
        sample_weights: Float[np.ndarray, " n"] | None,
        rows: Int[np.ndarray, " n"] | None = None,
        columns: tuple[str, ...] = (),
    ):
        """Keep what is evaluated.

        Args:
            components: in the data's units.
            log_noise: log joint density of the noise and any datum; None without noise.
            data: x, finite; NaN where one of several columns has no value.
            sample_weights: c, how often each datum counts; None for once each.
            rows: the row of each datum in its file, from 0, if rows were left out.
            columns: names of several columns.
        """
        self.data, self.sample_weights, self.rows, self.columns = data, sample_weights, rows, columns
        self.noise = log_noise is not None
        self._components, self._log_noise = components, log_noise

    def __len__(self) -> int:
        return len(self.data)

    def at(self, here: slice) -> Evaluated:
        """Evaluate some of the data.

        Args:
            here: which.
        """
        data = np.ascontiguousarray(self.data[here])
        exact = data.astype(np.float64, copy=False)
        log_densities, responsibilities = portable.evaluate(*self._components, exact, self._log_noise)
        weights, rows = (None if leaf is None else leaf[here] for leaf in (self.sample_weights, self.rows))
        labels = portable.labels_of(responsibilities, len(self._components[1]))
        if len(self) > MANY:
            responsibilities = responsibilities.astype(np.float32)
        assignments = Assignments(data, weights, labels, responsibilities.T, rows, self.columns, noise=self.noise)
        return Evaluated(here, assignments, log_densities)

    def each(self, function: Callable[[Evaluated], T], places: list[slice] | None = None) -> Iterator[T]:
        """What a function makes of each block, in their order; threads are a block ahead of what uses them.

        Args:
            function: of a block.
            places: the blocks; None for all data.
        """
        return in_order(lambda here: function(self.at(here)), slices(len(self), BLOCK) if places is None else places)

    def tables(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of a table of all assignments, block by block."""
        return self.each(lambda found: assignment_columns(found.assignments))

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The most probable component of each datum; −1 for noise."""
        return np.concatenate(list(self.each(lambda found: found.assignments.labels)))

    @property
    def responsibilities(self) -> Float[np.ndarray, "n K"]:
        """Those of the noise last."""
        return np.concatenate(list(self.each(lambda found: found.assignments.responsibilities)))

    @property
    def log_densities(self) -> Float[np.ndarray, " n"]:
        """In nats, of a density per unit of the data."""
        return np.concatenate(list(self.each(lambda found: found.log_densities)))
