"""What is printed of the agreement of several columns with their mixture."""

from collections.abc import Callable

import made_records
import numpy as np
import pytest

from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.records import reading
from gmm_pipeline.stages.goodness import goodness_of_fit

NORMAL = MultivariateMixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])


@pytest.fixture
def lines(tmp_path) -> Callable[[np.ndarray], list[str]]:
    """Printed of data under a standard normal."""
    run = reading.read(made_records.write_run(tmp_path / "run"))
    run = run._replace(fitted=NORMAL, config={**run.config, "level": 0.95})
    return lambda data: goodness_of_fit(run._replace(data=data))


def test_columns_that_are_draws_agree_and_one_that_is_shifted_does_not(lines):
    data = np.random.default_rng(0).normal(size=(500, 2))
    (agreeing,) = lines(data)
    assert agreeing.startswith("each column agrees with the mixture")
    (differing,) = lines(data + np.array([0.0, 0.5]))
    assert differing.startswith("data differ from the mixture, p < 0.001")
    assert lines(data[:30]) == []
