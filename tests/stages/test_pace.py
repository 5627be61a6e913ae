"""How fast a progress bar says that work goes."""

import pytest

from gmm_pipeline.model.vocabulary import PASSING
from gmm_pipeline.stages import terminal


def test_each_pass_over_the_data_has_a_rate_of_its_own_in_rows(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: now[0])
    pace, rates = terminal.Pace("fitting", "steps"), []
    for seconds, done, what in ((2, 100, "fitting"), (3, 500, PASSING), (4, 1000, PASSING), (5, 250, PASSING)):
        now[0] = float(seconds)
        rates.append((pace.at(done, what), pace.unit))
    assert rates == [(50.0, "steps"), (500.0, "rows"), (500.0, "rows"), (250.0, "rows")]
    assert pace.seconds == 5.0


def test_work_that_is_done_at_once_has_a_rate(monkeypatch):
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: 1.0)
    assert terminal.Pace("fitting", "steps").at(10, "fitting") == pytest.approx(10 / terminal.SHORTEST)
