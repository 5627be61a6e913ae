"""The picture of a recovery experiment: how often a mixture is recovered, over the number of observations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from gmm_pipeline.analysis.recovery_shares import TOLERANCE, WANTED, Line, wilson
from gmm_pipeline.pictures import drawing, pages, ticks

MARKERS = ("o", "s", "D", "^", "v")
MOST_LINES = 8


def draw_recovery(lines: Sequence[Line], *, ax: Axes) -> Axes:
    """Share of data sets from which the mixture was recovered over the number of observations, with 95 % intervals.

    Args:
        lines: at most `MOST_LINES` are drawn, and the picture says how many are not.
        ax: where to draw.
    """
    drawn = lines[:MOST_LINES]
    ax.set_xscale("log")
    ax.axhline(WANTED, color="0.8", linewidth=0.8, zorder=0)
    handles = []
    for number, line in enumerate(drawn):
        look: dict[str, Any] = {**drawing.component_style(number), "marker": MARKERS[number % len(MARKERS)]}
        # Side by side, so that no interval hides another.
        x = line.numbers * 1.02 ** (number - 0.5 * (len(drawn) - 1))
        low, high = wilson(line.recovered, line.tried)
        ax.plot(x, line.shares, markersize=4.5, zorder=3, clip_on=False, **look)
        ax.vlines(x, low, high, color=look["color"], linewidth=1.0, zorder=2)
        enough = f"{WANTED:.0%} from {line.enough:,} observations" if line.enough else f"never {WANTED:.0%}"
        label = f"{line.label}:\n{enough.replace('%', ' %')}"
        handles.append(Line2D([], [], markersize=4.5, label=label, **look))
    numbers = np.unique(np.concatenate([line.numbers for line in drawn]))
    ax.xaxis.set_major_locator(ticks.RoomyLocator(numbers.tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.0f}"))
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("number of observations")
    ax.set_ylabel("share of data sets recovered")
    handles.append(Line2D([], [], color="0.4", linestyle="", marker="|", markersize=9.0, label="95 % interval"))
    few = f"the first {len(drawn)} of {len(lines)} settings" if len(lines) > len(drawn) else ""
    meaning = f"recovered: each loc and scale within {TOLERANCE:g} true scales, each weight within {TOLERANCE:.0%}"
    pages.put_legend(ax, handles, labelspacing=0.8)
    pages.note(ax, [meaning.replace("%", " %"), few])
    return ax


def is_informative(lines: Sequence[Line]) -> bool:
    """Whether there is something to draw: several numbers of observations in one setting."""
    return any(len(line.numbers) > 1 for line in lines)
