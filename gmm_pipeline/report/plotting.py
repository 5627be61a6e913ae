"""Interactive plots as Plotly's figures: plain dictionaries, which nothing checks until a browser draws them.

So no page waits for Plotly's own classes, and the same record gives the same text. Colours are names of the
page's CSS variables, `--ink` for one, which the page looks up: a plot follows the page from light to dark. Numbers are
rounded to seven digits, which no screen shows. The user's text is escaped, since Plotly reads some HTML as markup.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmm_pipeline.model.vocabulary import LINEAR_UP_TO

Chart = dict[str, Any]
COLORS = 7
"""Of components, as many as the house's palette has; with five dashes, 35 components stay distinct."""
AXIS: dict[str, Any] = {
    "gridcolor": "--line",
    "zerolinecolor": "--line",
    "linecolor": "--muted",
    "tickcolor": "--muted",
    "ticks": "outside",
    "ticklen": 4,
    "showline": True,
    "automargin": True,
    "exponentformat": "power",
    "minexponent": 5,
    "separatethousands": True,
}
"""An axis in the page's style."""
MOST_TICKS = 7
MOST_WHOLE_TICKS = 12


def text(value: object) -> str:
    """A text that Plotly shows as it is."""
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def numbers(values: Any) -> list[float | None]:
    """Numbers for JSON, with seven digits; what is not finite is null, which is a gap."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in np.asarray(values, float).tolist()]


def component_color(component: int) -> str:
    """The name of a component's colour on the page."""
    return f"--c{component % COLORS}"


def chart(data: Sequence[Mapping[str, Any]], *, x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any) -> Chart:
    """A figure in the page's style.

    Args:
        data: traces.
        x: the horizontal axis.
        y: the vertical one.
        **layout: more of Plotly's layout.
    """
    return {
        "data": list(data),
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": "--ink"},
            "hoverlabel": {"bgcolor": "--card", "bordercolor": "--line", "font": {"color": "--ink"}},
            "margin": {"l": 56, "r": 12, "t": 8, "b": 44},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
            "hovermode": "closest",
            "xaxis": {**AXIS, "showgrid": False, "zeroline": False, **x},
            "yaxis": {**AXIS, **y},
            **layout,
        },
    }


def with_unit(name: str, unit: str | None) -> dict[str, str]:
    """The title of an axis: quantity / unit.

    Args:
        name: the quantity.
        unit: its unit; None for none.
    """
    return {"text": text(name if unit is None else f"{name} / {unit}")}


def log_axis(title: str, values: Any) -> dict[str, Any]:
    """A logarithmic axis with a tick at each decade, or at every few decades if there are many.

    Args:
        title: of the axis.
        values: what is drawn along it; what is not finite or not positive is ignored.
    """
    shown = np.asarray(values, float)
    shown = shown[np.isfinite(shown) & (shown > 0.0)]
    decades = float(np.ptp(np.log10(shown))) if shown.size else 1.0
    return {
        "title": {"text": title},
        "type": "log",
        "exponentformat": "power",
        "dtick": max(math.ceil(decades / MOST_TICKS), 1),
    }


def excess_axis(title: str, excess: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Differences from the best, and their axis: linear while they matter, logarithmic above if some are far away.

    Plotly has no such axis: the differences are transformed, and the ticks show the original values.

    Args:
        title: of the axis.
        excess: 0 or more; NaN stays NaN.
    """
    values = np.asarray(excess, float)
    highest = float(np.nanmax(values, initial=0.0))
    axis: dict[str, Any] = {"title": {"text": title}, "rangemode": "tozero"}
    if highest <= 6.0 * LINEAR_UP_TO:
        return values, axis

    def transformed(these: Any) -> np.ndarray:
        these = np.asarray(these, float)
        return np.where(
            these <= LINEAR_UP_TO, these / LINEAR_UP_TO, 1.0 + np.log10(np.maximum(these, 1.0) / LINEAR_UP_TO)
        )

    decades = (10.0 ** np.arange(1, math.floor(math.log10(highest)) + 1)).tolist()
    ticks = [0.0, 2.0, 6.0, *decades] if len(decades) <= 4 else [0.0, *decades[:: math.ceil(len(decades) / MOST_TICKS)]]
    top = float(transformed(highest))
    axis |= {"tickvals": numbers(transformed(ticks)), "ticktext": [f"{tick:,.0f}" for tick in ticks]}
    return transformed(values), {**axis, "range": [-0.06 * top, 1.06 * top], "zeroline": False}


def whole_axis(title: str, values: Any) -> dict[str, Any]:
    """An axis of whole numbers, each with a tick if they are few.

    Args:
        title: of the axis.
        values: what is drawn along it.
    """
    return {"title": {"text": title}, **({"dtick": 1} if np.ptp(values) <= MOST_WHOLE_TICKS else {})}


def trace(mode: str, name: str, x: Any, y: Any, **more: Any) -> dict[str, Any]:
    """Lines, markers or both.

    Args:
        mode: as Plotly calls it.
        name: as Plotly shows it.
        x: of the points.
        y: of the points; what is not finite is a gap.
        **more: keys of Plotly's.
    """
    return {"type": "scatter", "mode": mode, "name": name, "x": x, "y": numbers(y), **more}


def line_of(x: list[float | None], y: Any, name: str, line: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A trace that is a line.

    Args:
        x: of the points; None is a gap.
        y: of the points; what is not finite is a gap.
        name: plain text for the legend.
        line: Plotly's `line`: colour, width, dash.
        **more: further keys of Plotly's trace.
    """
    hover = f"{text(name)}: %{{y:.4g}}<extra></extra>"
    return trace("lines", text(name), x, y, **{"line": dict(line), "hovertemplate": hover, **more})
