"""Data drawn from a mixture, with the mixture and the component of each datum."""

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import AnyMixture
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.stages.simulate import columns_of

if TYPE_CHECKING:
    import pandas as pd

BITS = "threefry_partitionable"
"""The key that chooses the random bits that data are drawn from."""


class Simulated:
    """Data drawn from a mixture, for `fit` and `sweep`, whose metrics then say how well the mixture was recovered."""

    def __init__(self, config: dict[str, Any], overrides: list[str], dataset: Dataset):
        """Keep what was drawn.

        Args:
            config: resolved, that generates the data.
            overrides: that it was composed from.
            dataset: the data, with their truth and components.
        """
        self.config = {key: config[key] for key in ("data", BITS)}
        self.overrides = overrides
        """In the command line's grammar."""
        self.truth = cast(AnyMixture, dataset.truth)
        """Weights, locs, and scales or covariances; components are in the order of a `Fit`."""
        self._dataset = dataset

    @cached_property
    def values(self) -> Float[np.ndarray, " n"] | Float[np.ndarray, "n d"]:
        """The data."""
        return self._dataset.data.copy()  # other fits of this process share the original

    @cached_property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The component in `truth` that each datum was drawn from."""
        return cast(np.ndarray, self._dataset.components).copy()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of several columns; empty for one."""
        return self._dataset.columns

    @cached_property
    def table(self) -> "pd.DataFrame":
        """Data and component of each datum, as the command `simulate` writes them."""
        import pandas as pd

        return pd.DataFrame(columns_of(self._dataset), copy=True)

    def put_in(self, config: dict[str, Any]) -> dict[str, Any]:
        """A config of a fit to these data.

        Args:
            config: resolved.

        Raises:
            InputError: it would draw other data.
        """
        if config[BITS] != self.config[BITS]:
            remedy = f"Simulate with overrides=['{BITS}={str(config[BITS]).lower()}'] too."
            raise InputError(BITS, expected=f"{self.config[BITS]}, as simulated", came=str(config[BITS]), remedy=remedy)
        return {**config, "data": self.config["data"]}

    def __len__(self) -> int:
        return len(self._dataset.data)

    def __repr__(self) -> str:
        return f"{self._dataset.name}: {self._dataset.source}; {len(self.truth.weights)} components"
