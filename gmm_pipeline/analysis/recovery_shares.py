"""How often a mixture is recovered, as a function of the number of observations.

A line is a setting, named by the overlap of the components of its true mixture, which matters more than their number. A
share of a few dozen data sets is itself uncertain: its interval is Wilson's, which, unlike the common one, neither
leaves [0, 1] nor vanishes at its ends (Wilson 1927; Brown, Cai & DasGupta 2001).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmm_pipeline.records.overrides import override_values
from gmm_pipeline.records.sweeps import SweepRun, differing_overrides

TOLERANCE = 0.5
"""Worst relative error of a mixture that counts as recovered: half a true scale, half a true weight."""
WANTED = 0.9
"""Share of data sets for which the number of observations needed is reported."""
REPEATS = ("data.n_draws", "data.seed", "seed")
"""Overrides that do not start another line."""
QUANTILE = 1.959963984540054
"""Quantile of the standard normal for intervals of 95 %."""


class Line(NamedTuple):
    """How often the mixture was recovered, for one setting."""

    label: str
    overlap: float
    numbers: Int[np.ndarray, " N"]
    """Numbers of observations, increasing."""
    recovered: Int[np.ndarray, " N"]
    """Data sets from which the mixture was recovered."""
    tried: Int[np.ndarray, " N"]

    @property
    def shares(self) -> Float[np.ndarray, " N"]:
        """Share of data sets from which the mixture was recovered."""
        return self.recovered / self.tried

    @property
    def enough(self) -> int | None:
        """The least number of observations from which on the share is at least `WANTED`; None if there is none."""
        short = np.flatnonzero(self.shares < WANTED)
        first = short[-1] + 1 if short.size else 0
        return int(self.numbers[first]) if first < len(self.numbers) else None


def wilson(
    hits: Int[np.ndarray, " N"], tried: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Ends of the 95 % score interval of a binomial share, (p̂ + z²/2n ± z √(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n).

    (Wilson 1927.)

    Args:
        hits: [N], how many succeeded.
        tried: [N], n, how many there were, positive.
    """
    share, squared = hits / tried, QUANTILE**2 / tried
    middle, half = share + squared / 2.0, np.sqrt(squared * (share * (1.0 - share) + squared / 4.0))
    return np.maximum((middle - half) / (1.0 + squared), 0.0), np.minimum((middle + half) / (1.0 + squared), 1.0)


def lines_of(runs: Sequence[SweepRun], errors: Mapping[int, float]) -> list[Line]:
    """Group the runs whose error is known by setting, the least overlap first.

    Args:
        runs: of a sweep.
        errors: worst relative error by the number of the run.
    """
    judged = [run for run in runs if run.number in errors and run.metrics.get("n_data") is not None]
    keys = [key for key in differing_overrides(judged) if key not in REPEATS]
    groups: dict[tuple[str, ...], list[SweepRun]] = {}
    for run in judged:
        values = override_values(run.overrides)
        groups.setdefault(tuple(f"{key}={values.get(key, '')}" for key in keys), []).append(run)
    found = [_line(setting, members, errors) for setting, members in groups.items()]
    labels = [line.label for line in found]
    if len(set(labels)) < len(labels):
        # Different mixtures can have the same overlap.
        found = [
            line._replace(label="\n".join([line.label.partition("\n")[0], *setting]))
            for line, setting in zip(found, groups, strict=True)
        ]
    return sorted(found, key=lambda line: line.overlap)


def _line(setting: tuple[str, ...], runs: Sequence[SweepRun], errors: Mapping[int, float]) -> Line:
    n_data = np.array([run.metrics["n_data"] for run in runs], np.int64)
    hit = np.array([errors[run.number] <= TOLERANCE for run in runs])
    numbers = np.unique(n_data)
    overlaps = [run.metrics.get("true_overlap") for run in runs]
    overlap = max((value for value in overlaps if value is not None), default=math.nan)
    # The overlap stands for the settings of the data.
    rest = [override for override in setting if not override.startswith("data.")]
    return Line(
        "\n".join([f"overlap {overlap:.2g}", *rest]),
        overlap,
        numbers,
        np.array([np.sum(hit[n_data == number]) for number in numbers]),
        np.array([np.sum(n_data == number) for number in numbers]),
    )
