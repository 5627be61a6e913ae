"""Many data: what is true of all of them, computed block by block in float64, so that none is copied as a whole.

Blocks have one length whatever the machine, and what they yield is put together in their order: so results do not
depend on the number of threads, nor on whether data are in memory or are read from a file as they are needed.
"""

import dataclasses
import functools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

T = TypeVar("T")
MANY = 2**20
"""Data from which on they keep the precision of their file, and their counts of one are one number in memory."""
BLOCK = 2**17
"""Data that are converted to float64 at a time: a megabyte a column."""


def slices(n: int, length: int | None = None) -> list[slice]:
    """Blocks of n data; at least one.

    Args:
        n: number of data.
        length: of a block; None for `BLOCK`.
    """
    length = BLOCK if length is None else length
    return [slice(first, min(first + length, n)) for first in range(0, max(n, 1), length)]


def in_order(function: Callable[[slice], T], places: list[slice]) -> Iterator[T]:
    """What a function makes of each block, in their order; threads are a block ahead of what uses them.

    Args:
        function: of a block, which spends its time outside of Python.
        places: the blocks.
    """
    if len(places) == 1:
        yield function(places[0])
        return
    n_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads, thread_name_prefix="block") as executor:
        waiting = deque()
        for place in places:
            waiting.append(executor.submit(function, place))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def are_ones(sample_weights: Float[np.ndarray, " n"] | None) -> bool:
    """Whether many data count once each, known without looking at them.

    Args:
        sample_weights: None for once each; or a single number that stands for all, which must then be one.
    """
    return sample_weights is None or (sample_weights.strides == (0,) and float(sample_weights[0]) == 1.0)


def is_complete(data: Any) -> bool:
    """Whether no value is missing.

    Args:
        data: NaN where a value is missing; anything whose slices are arrays.
    """
    return not any(in_order(lambda here: bool(np.isnan(data[here]).any()), slices(len(data))))


class Summary(NamedTuple):
    """Moments and extent of data, in float64; of several columns, arrays of their numbers."""

    total: float
    """Sum of the sample weights."""
    mean: Float[np.ndarray, "*d"]
    scatter: Float[np.ndarray, "*d_d"]
    """Σ c (x − mean)(x − mean)ᵀ."""
    least: Float[np.ndarray, "*d"]
    greatest: Float[np.ndarray, "*d"]

    @property
    def spread(self) -> float:
        """Standard deviation of one column."""
        return math.sqrt(float(self.scatter) / self.total)

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Of several columns."""
        return self.scatter / self.total


def summary(data: Float[np.ndarray, "n ..."], sample_weights: Float[np.ndarray, " n"] | None = None) -> Summary:
    """Moments and extent of many data, in one pass; those of blocks are put together as by Chan et al. (1979).

    What was asked last is kept.

    Args:
        data: x, finite, of any precision; anything whose slices are arrays.
        sample_weights: c, how often each datum counts; None for once each.
    """
    return _summary(ByIdentity(data), None if are_ones(sample_weights) else ByIdentity(sample_weights))


@dataclasses.dataclass(frozen=True, eq=False)
class ByIdentity(Generic[T]):
    """Data as a cache key: an object that is cached itself, or stays as it is, is the same one again."""

    value: T

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and self.value is other.value


@functools.lru_cache(maxsize=4)
def _summary(same_data: ByIdentity, same_weights: ByIdentity | None) -> Summary:
    data, sample_weights = same_data.value, None if same_weights is None else same_weights.value

    @np.errstate(over="ignore", under="ignore", invalid="ignore")
    def of_block(here: slice) -> Summary:
        some = np.asarray(data[here], np.float64)
        counts = np.ones(1) if sample_weights is None else np.asarray(sample_weights[here], np.float64)
        extent = some.min(axis=0), some.max(axis=0)
        total = float(len(some) if sample_weights is None else counts.sum())
        if total == 0.0:
            return Summary(0.0, np.zeros(some.shape[1:]), np.zeros(some.shape[1:] * 2), *extent)
        of_rows = counts.reshape(-1, *[1] * (some.ndim - 1))
        mean = np.sum(of_rows * some, axis=0) / total
        centred = some - mean
        weighed = centred if sample_weights is None else of_rows * centred
        # BLAS would share the sum of one column among threads, whose number would decide its last bits.
        scatter = weighed.T @ centred if some.ndim > 1 else np.sum(weighed * centred)
        return Summary(total, mean, scatter, *extent)

    return functools.reduce(_together, in_order(of_block, slices(len(data))))


def _together(one: Summary, other: Summary) -> Summary:
    total = one.total + other.total
    apart = other.mean - one.mean
    share = other.total / total if total else 0.0
    return Summary(
        total,
        one.mean + share * apart,
        one.scatter + other.scatter + one.total * share * np.multiply.outer(apart, apart),
        np.minimum(one.least, other.least),
        np.maximum(one.greatest, other.greatest),
    )
