"""Results of searches, cached for runs that differ in nothing that a search sees."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from gmm_pipeline.inference.jobs import FitJob, SearchPlan
from gmm_pipeline.inference.search import SearchResult, search
from gmm_pipeline.model import inits

KEPT = 512
"""Number of search results that are cached."""


class _Memory:
    """The last `KEPT` search results by digest; a search that is under way is waited for."""

    def __init__(self) -> None:
        self.results: OrderedDict[str, list[SearchResult]] = OrderedDict()
        self.under_way: dict[str, threading.Lock] = {}
        self.lock = threading.Lock()

    def recall(self, key: str, make: Callable[[], list[SearchResult]]) -> list[SearchResult]:
        with self.lock:
            own = self.under_way.setdefault(key, threading.Lock())
        with own:
            if key not in self.results:
                self.results[key] = make()
            with self.lock:
                found = self.results[key]
                self.results.move_to_end(key)
                while len(self.results) > KEPT:
                    self.under_way.pop(self.results.popitem(last=False)[0], None)
        return found


_memory = _Memory()


def remembered_search(
    jobs: Sequence[FitJob], plan: SearchPlan, workers: int = 1, heed: Callable[[], None] | None = None
) -> list[SearchResult]:
    """`search`, once for runs that differ in nothing that it sees, such as their optimizers and steps.

    Args:
        jobs: fits of the same data and key.
        plan: how thorough the search is.
        workers: threads that compute.
        heed: called between rounds.
    """
    key = " ".join(_digest(job, plan) for job in jobs)
    return _memory.recall(key, lambda: search(jobs, plan, workers, heed))


def _digest(job: FitJob, plan: SearchPlan) -> str:
    """Digest of everything that a search sees of a fit."""
    seen = (
        job.plan.n_components,
        job.padded_to,
        job.plan.log_prior,
        job.plan.fused,
        plan,
        job.restarts,
        job.data.shape,
    )
    numbers = (
        job.equal_scales,
        job.covariance,
        job.factors,
        job.scale_floor,
        job.floor_of_few,
        job.few_are_narrow,
        job.scale_floor_of_many,
        job.fewest_data,
        job.gradient_tolerance,
        job.noise,
    )
    sha = hashlib.sha256(repr((seen, numbers, str(job.data.dtype))).encode())
    for array in (np.array(inits.words_of(job.key)), job.data, job.sample_weights):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
