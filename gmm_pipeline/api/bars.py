"""The progress bar of a fit from Python: that of the terminal, or one that a notebook draws."""

import contextlib
import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from gmm_pipeline.stages.terminal import SECONDS_BEFORE_A_BAR, Pace, progress_bar

SECONDS_BETWEEN_DRAWINGS = 0.2


def bar(what: str, unit: str) -> contextlib.AbstractContextManager[Callable[..., None]]:
    """A progress bar with rate and time left, gone at the end, for work that takes longer than a second.

    Args:
        what: the work, as in "fitting".
        unit: what is counted, as in "steps".
    """
    return _drawn_by_notebook(what, unit) if _in_notebook() else progress_bar(what, unit)


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs this, which has imported IPython."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


@contextlib.contextmanager
def _drawn_by_notebook(what: str, unit: str) -> Iterator[Callable[..., None]]:
    display: Any = importlib.import_module("IPython.display")
    pace, drawn = Pace(what, unit), time.perf_counter()
    place: Any = None

    def advance(done: int, total: int, now: str = what) -> None:
        nonlocal drawn, place
        rate, since = pace.at(done, now), time.perf_counter() - drawn
        if pace.seconds < SECONDS_BEFORE_A_BAR or (place is not None and since < SECONDS_BETWEEN_DRAWINGS):
            return
        drawn = time.perf_counter()
        left = f", {(total - done) / rate:,.0f} s left" if done else ""
        said = f"{html.escape(now)} {done:,} of {total:,} {html.escape(pace.unit)}, {rate:,.0f}/s{left}"
        seen = display.HTML(f'<progress value="{done}" max="{total}"></progress> {said}')
        if place is None:
            place = display.display(seen, display_id=True)
        else:
            place.update(seen)

    try:
        yield advance
    finally:
        if place is not None:
            place.update(display.HTML(""))
