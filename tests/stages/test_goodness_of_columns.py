"""What is printed of the agreement of several columns with their mixture."""

# A job and an answer with only what is read.
# pyright: reportArgumentType=false

from types import SimpleNamespace

import numpy as np

from gmm_pipeline.analysis.answers import Answer
from gmm_pipeline.analysis.estimates import Job
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.stages.goodness import goodness_of_fit

NORMAL = MultivariateMixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])


def lines(data: np.ndarray) -> list[str]:
    """Printed of data under a standard normal."""
    nothing = Job(*[None] * len(Job._fields)), Answer(*[None] * len(Answer._fields))
    dataset = SimpleNamespace(data=data, sample_weights=None, counts=np.ones(len(data)))
    job = nothing[0]._replace(dataset=dataset, asked=SimpleNamespace(level=0.95))
    answer = nothing[1]._replace(
        fitted=NORMAL, candidates=(), degenerate=(), doubts=(), diverged=False, metrics={"converged": True}
    )
    return goodness_of_fit(job, answer)


def test_columns_that_are_draws_agree_and_one_that_is_shifted_does_not():
    data = np.random.default_rng(0).normal(size=(500, 2))
    (agreeing,) = lines(data)
    assert agreeing.startswith("each column agrees with the mixture")
    (differing,) = lines(data + np.array([0.0, 0.5]))
    assert differing.startswith("data differ from the mixture, p < 0.001")
    assert lines(data[:30]) == []
