"""The progress bar that a notebook draws, with a stand-in for IPython."""

import sys
from types import SimpleNamespace

import pytest

from gmm_pipeline.api import bars


class Place:
    """Where a notebook shows something."""

    def __init__(self, first: str):
        self.seen = [first]

    def update(self, now: str) -> None:
        self.seen.append(now)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """What a notebook was asked to display."""
    shown: list[Place] = []

    def display(first: str, *, display_id: bool) -> Place:
        assert display_id
        shown.append(Place(first))
        return shown[-1]

    module = SimpleNamespace(HTML=str, display=display)
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=module, get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_DRAWINGS", 0.0)
    return shown


def test_a_notebook_sees_rate_and_time_left_in_one_place_and_nothing_at_the_end(
    places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "SECONDS_BEFORE_A_BAR", 0.0)
    with bars.bar("fitting <b>", "steps") as advance:
        advance(0, 40)
        advance(10, 40)
    (place,) = places
    assert place.seen[0].startswith('<progress value="0" max="40"></progress> fitting &lt;b&gt; 0 of 40 steps')
    assert "10 of 40 steps" in place.seen[1] and "/s, 0 s left" in place.seen[1]
    assert place.seen[-1] == ""


def test_quick_work_shows_none(places: list[Place]) -> None:
    with bars.bar("fitting", "steps") as advance:
        advance(1, 1)
    assert places == []


def test_where_no_notebook_is_the_bar_is_that_of_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with bars.bar("fitting", "steps") as advance:
        advance(1, 1)
    assert capfd.readouterr().err == ""
