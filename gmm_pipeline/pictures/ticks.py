"""Ticks of axes: steps and differences on logarithmic axes, numbers without mathtext, labels that do not touch."""

import math
from collections.abc import Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
    StrMethodFormatter,
)

from gmm_pipeline.model.vocabulary import LINEAR_UP_TO

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LOG_STEPS_FROM = 30
POWERS, MOST_DIGITS = (-4, 5), 5
"""Between these powers of ten, numbers are written out; with more decimals, they have a common summand instead."""
CHARACTER, LINE, GAP = 0.64, 1.25, 3.0
"""Width of a digit and height of a line as shares of the size of the font, and the least gap in points."""


def _labels(axis: Any, values: Sequence[float]) -> list[tuple[float, float]]:
    """Place and half the extent of each label along an axis, in points."""
    name, formatter = axis.axis_name, axis.get_major_formatter()
    settings: Any = mpl.rcParams
    size = axis.get_tick_params().get("labelsize", settings[f"{name}tick.labelsize"])
    points = FontProperties(size=size).get_size_in_points()
    pixels = axis.axes.transData.transform([(value, value) for value in values])[:, 0 if name == "x" else 1]
    places = pixels * 72.0 / axis.get_figure(root=True).dpi
    extents = [CHARACTER * len(formatter(value, 0)) if name == "x" else LINE for value in values]
    return [(place, 0.5 * points * extent) for place, extent in zip(places.tolist(), extents, strict=True)]


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) >= one[1] + other[1] + GAP


class RoomyLocator(FixedLocator):
    """Ticks at given places; where their labels would touch, those that come first are kept."""

    def __call__(self) -> Any:
        """The places that are kept, ascending."""
        low, high = sorted(cast(Any, self.axis).get_view_interval())
        values = [float(value) for value in cast(Any, self).locs if low <= value <= high]
        kept: dict[float, tuple[float, float]] = {}
        for value, label in zip(values, _labels(self.axis, values) if values else (), strict=True):
            if all(_apart(label, other) for other in kept.values()):
                kept[value] = label
        return np.sort(list(kept))


class WholeLocator(FixedLocator):
    """Ticks at whole numbers: the smallest of 1, 2, 5, 10, … whose multiples have labels that do not touch."""

    def __call__(self) -> Any:
        """The multiples among the numbers."""
        numbers = np.asarray(cast(Any, self).locs)
        for stride in (digit * 10**power for power in range(10) for digit in (1, 2, 5)):
            shown = [float(number) for number in numbers if number % stride == 0]
            labels = _labels(self.axis, shown) if shown else []
            if all(map(_apart, labels, labels[1:])):
                return np.array(shown or numbers[:1])
        return numbers[:1]


def set_panel_ticks(axis: Axis, most: int) -> str:
    """A few ticks of a small panel, whose labels do not touch, in units of a power of ten where numbers are long.

    Args:
        axis: with its limits.
        most: intervals between ticks.

    Returns:
        The power, as in ×10⁻⁹, for the label of the axis; empty for 1, and where the ticks have a common summand.
    """
    low, high = sorted(axis.get_view_interval())
    places = [float(place) for place in MaxNLocator(most).tick_values(low, high) if low <= place <= high]
    largest = max(map(abs, places), default=0.0)
    power = math.floor(math.log10(largest)) if largest > 0.0 else 0
    power = 0 if POWERS[0] < power < POWERS[1] else power
    texts = [f"{round(place / 10.0**power, MOST_DIGITS + 1):.12g}" for place in places]
    digits = max((len(text.partition(".")[2]) for text in texts), default=0)
    if digits > MOST_DIGITS:
        axis.set_major_locator(MaxNLocator(most))
        return ""
    # The outermost ones first: they say most where there is no room for all.
    axis.set_major_locator(RoomyLocator(sorted(places, key=lambda place: -abs(place - 0.5 * (low + high)))))
    axis.set_major_formatter(
        # With 0 added, since −0 would have a sign.
        FuncFormatter(lambda tick, _: f"{round(tick / 10.0**power, digits) + 0.0:.{digits}f}".replace("-", "−"))
    )
    return f"×10{str(power).translate(RAISED)}" if power else ""


def with_power(label: str, power: str) -> str:
    """The label of an axis with the power that its ticks are in, on a line of its own.

    Args:
        label: of the axis.
        power: as `set_panel_ticks` returns it.
    """
    return f"{label}\n{power}" if power else label


def set_whole_ticks(axes: Axes, first: int, last: int) -> None:
    """Ticks on x at whole numbers, as many as there is room for.

    Args:
        axes: whose x axis is set.
        first: the smallest number.
        last: the largest.
    """
    axes.xaxis.set_major_locator(WholeLocator(range(first, last + 1)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))


def set_step_axis(axes: Axes, steps: Int[np.ndarray, " H"]) -> None:
    """Optimizer steps on x: logarithmic for long fits, linear up to the first entry and for fits of few steps.

    The first tenth of the steps does most of the work: with decades of equal width both the fast start and the last
    approach are seen, while on a linear axis the start is a vertical line.

    Args:
        axes: whose x axis is set.
        steps: [H], steps of the history entries, ascending.
    """
    axes.set_xlabel("optimizer step")
    last = int(steps[-1])
    if last <= LOG_STEPS_FROM:
        axes.set_xlim(-0.02 * max(last, 1), 1.02 * max(last, 1))
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        return
    first = int(steps[steps > 0][0])
    axes.set_xscale("symlog", linthresh=first, linscale=0.4)
    decades = 10 ** np.arange(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1)
    minors = np.outer(10.0 ** np.arange(math.floor(math.log10(last)) + 1), np.arange(2, 10)).ravel()
    axes.xaxis.set_major_locator(RoomyLocator([0.0, *map(float, decades[::-1]), last]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axes.xaxis.set_minor_locator(FixedLocator(minors[(minors >= first) & (minors <= last)].tolist()))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(-0.15 * first, last * 1.08)


def set_log_ticks(axes: Axes) -> None:
    """Ticks at decades, and also at 2 and 5 between them if there are few decades."""
    low, high = axes.get_ylim()
    if high < 300.0 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
    if high < 300.0 * low and low > 1e-4 and high < 1e5:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: power_text(tick)))
    axes.yaxis.set_minor_locator(NullLocator())


def set_excess_axis(axes: Axes, top: float, floor: float) -> None:
    """A logarithmic axis from `floor`, whose tick stands for all values up to it, to `top`.

    Args:
        axes: whose y axis is set.
        top: upper limit, in nats.
        floor: the smallest difference that is told apart, in nats.
    """
    axes.set_yscale("log")
    axes.set_ylim(floor / 1.8, top)
    decades = np.arange(round(math.log10(floor)), math.floor(math.log10(top)) + 1)
    axes.yaxis.set_major_locator(RoomyLocator((10.0 ** decades[:: math.ceil(len(decades) / 7)]).tolist()))
    axes.yaxis.set_minor_locator(NullLocator())
    low = 1.001 * floor
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: ("≤ " if tick <= low else "") + decade_text(tick)))


def set_decision_axis(axes: Axes, low: float, high: float, highest: float, *, band_from: float) -> None:
    """A vertical axis of differences: linear while they matter, on grey, and logarithmic beyond.

    Args:
        axes: whose y axis is set.
        low: lower limit, in nats.
        high: upper limit, in nats.
        highest: up to where decades have ticks, in nats.
        band_from: where the grey begins, in nats.
    """
    axes.set_yscale("symlog", linthresh=LINEAR_UP_TO, linscale=1.0)
    axes.set_ylim(low, high)
    decades = 10.0 ** np.arange(1, math.floor(math.log10(highest)) + 1)
    near = [0.0, 2.0, 6.0] if len(decades) <= 3 and low > -LINEAR_UP_TO else [0.0]
    axes.yaxis.set_major_locator(RoomyLocator([*near, *decades, *-decades]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: signed_text(tick)))
    axes.axhspan(band_from, LINEAR_UP_TO, color="0.93", zorder=0, linewidth=0.0)


def linear_patch() -> Patch:
    """What the grey of such an axis means, for a legend."""
    return Patch(color="0.93", label=f"up to {LINEAR_UP_TO:g}: linear")


def signed_text(number: float) -> str:
    """A number as in `decade_text`, with its sign."""
    return ("−" if number < 0.0 else "") + decade_text(abs(number))


def decade_text(tick: float) -> str:
    """A number without needless digits, or the nearest power of ten if it is large."""
    return f"{tick:g}" if tick < 1.0 else f"{tick:,.0f}" if tick < 1e5 else power_text(10.0 ** round(math.log10(tick)))


def power_text(tick: float) -> str:
    """A positive number as a digit times a power of ten, in plain text: 10⁻³, 2×10⁵."""
    digit, _, exponent = f"{tick:.0e}".partition("e")
    power = str(int(exponent)).translate(RAISED)
    return f"10{power}" if digit == "1" else f"{digit}×10{power}"


class PlainFormatter(ScalarFormatter):
    """Ticks without mathtext, whose parser takes half of the time of a picture; only their common factor keeps it."""

    def get_offset(self) -> str:
        """The common factor or summand beside the axis, as in ×10⁶."""
        self.set_useMathText(True)
        try:
            return super().get_offset()
        finally:
            self.set_useMathText(False)


def plain_ticks(figure: Figure) -> None:
    """Give the plain formatter to every axis without a formatter of its own."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if type(axis.get_major_formatter()) is ScalarFormatter:
            axis.set_major_formatter(PlainFormatter(useMathText=False))
