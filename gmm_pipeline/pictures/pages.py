"""Where pictures are drawn: on pages of this program, or in figures that somebody else made.

A picture is a function of plain values that draws into the axes (`ax`) or, if it has several panels, into the figure
that it is given, and returns the axes. It changes no setting of Matplotlib. Style, size and files belong to a `Page`
alone: there the legend stands beside the axes, or below them on narrow pages, never on the data, and the page grows by
what is written above and below. In the axes of somebody else the legend stands inside, or
below if it is tall, and remarks are the left title.
The price is that each picture leaves legend and remarks to the two functions that know the difference.
"""

import contextlib
import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.transforms import ScaledTranslation

from gmm_pipeline.pictures import ticks
from gmm_pipeline.records.files import whole_file

NONE = "none"
"""The style that leaves Matplotlib's settings as they are."""
# The ids in a vector picture, and letters that stay text in one.
FILES: dict[Any, Any] = {"svg.hashsalt": "gmm_pipeline", "pdf.fonttype": 42}
STYLE: dict[Any, Any] = {
    **FILES,
    "axes.labelsize": "medium",
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-4, 5),
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
}
SMALLER = ("legend.fontsize", "legend.title_fontsize", "xtick.labelsize", "ytick.labelsize")
"""One point smaller than the rest."""
# By default the library writes its version and the time, so that no two files would be the same.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
NOTE: dict[str, Any] = {"color": "0.35", "fontsize": "small"}
NARROW = 4.5
"""Inches; below this width, a legend beside the axes would take most of it."""
MOST_INSIDE = 0.5
"""Share of the height of axes that a legend inside them may take."""
BELOW = 36.0
"""Points under axes that ticks and their label take."""
CHARACTER, INNER = 0.53, 0.96
"""Mean width of a letter as a share of the size of the font, and share of a width that text fills."""


@contextlib.contextmanager
def styled(font_size: float) -> Iterator[None]:
    """The house style for what is drawn or saved inside, whatever somebody's own settings are.

    Args:
        font_size: in points; ticks and legends are one smaller.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": font_size, **STYLE, **dict.fromkeys(SMALLER, font_size - 1.0)})
        yield


class Paper(NamedTuple):
    """What pages look like."""

    size: Sequence[float]
    """Width and height of a picture of one pair of axes, in inches."""
    font_size: float
    """In points; ticks and legends are one smaller."""
    style: str
    """`default`, or `none` for Matplotlib's own settings, of which the font size is one."""
    shown: bool = False
    """Whether pyplot keeps the page, so that a notebook shows it at the end of its cell."""

    def styled(self) -> contextlib.AbstractContextManager[None]:
        """The settings for what is drawn or saved inside."""
        if self.shown:
            _load_backend()
        return contextlib.nullcontext() if self.style == NONE else styled(self.font_size)

    def page(self) -> "Page":
        """A page without axes."""
        look: dict[str, Any] = {"figsize": tuple(self.size), "layout": "constrained", "paper": self}
        if self.shown:
            from matplotlib import pyplot

            return cast(Page, pyplot.figure(FigureClass=Page, **look))
        page = Page(**look)
        FigureCanvasAgg(page)
        return page

    def on_axes(self, draw: Callable[..., Any], *values: Any, **named: Any) -> "Page":
        """A page with the picture that a function draws into one pair of axes.

        Args:
            draw: the function, called with `ax`.
            *values: its further arguments.
            **named: those by name.
        """
        with self.styled():
            page = self.page()
            draw(*values, ax=page.subplots(), **named)
        return page

    def on_figure(self, draw: Callable[..., Any], *values: Any, **named: Any) -> "Page":
        """A page with the picture that a function composes of several axes.

        Args:
            draw: the function, called with `figure`.
            *values: its further arguments.
            **named: those by name.
        """
        with self.styled():
            page = self.page()
            draw(*values, figure=page, **named)
        return page


def _load_backend() -> None:
    """Load the backend of Matplotlib, which pyplot does only when it makes the first figure.

    That of notebooks then switches to interactive mode, which shows figures. Inside the style that would end with it.
    """
    from matplotlib import pyplot

    pyplot.draw_if_interactive()


class Page(Figure):
    """A figure of this program, which keeps its style wherever it is drawn."""

    def __init__(self, *args: Any, paper: Paper, **kwargs: Any):
        self.paper = paper
        super().__init__(*args, **kwargs)

    def draw(self, renderer: Any) -> None:
        """Draw on a renderer, in the style of the page.

        Args:
            renderer: Matplotlib's.
        """
        with self.paper.styled():
            super().draw(renderer)


def stretch(figure: Figure | SubFigure, share: float) -> None:
    """Set the height of a page; other figures keep theirs.

    Args:
        figure: any.
        share: of the height of a page with one pair of axes.
    """
    if isinstance(figure, Page):
        figure.set_figheight(share * figure.paper.size[1])


def is_narrow(figure: Figure | SubFigure) -> bool:
    """Whether a figure is as narrow as a column of a printed page."""
    return bool(figure.bbox.width / figure.dpi < NARROW)


def _is_foreign(where: Axes | Figure | SubFigure) -> bool:
    return isinstance(where, Axes) and not isinstance(where.figure, Page)


def figure_of(where: Axes | Figure | SubFigure) -> Figure | SubFigure:
    """The figure of axes, or the figure itself."""
    return cast("Figure | SubFigure", where.figure if isinstance(where, Axes) else where)


def put_legend(
    where: Axes | Figure | SubFigure,
    handles: Sequence[Artist] | None = None,
    *,
    title: str = "",
    below: bool = False,
    **look: Any,
) -> None:
    """A legend off the data: beside the axes, below them if the figure is narrow; inside axes of somebody else.

    Args:
        where: the axes, or the figure of a picture of several.
        handles: of the legend; None for all labelled artists of the axes.
        title: of the legend.
        below: whether it stands below the axes of a wide figure too.
        **look: of the legend.
    """
    if handles is None:
        handles = cast(Axes, where).get_legend_handles_labels()[0]
    if not handles:
        return
    look = {"handles": list(handles), "title": title or None, "alignment": "left", **look}
    if _is_foreign(where):
        _inside_or_below(cast(Axes, where), look)
        return
    figure = figure_of(where)
    if not (below or is_narrow(figure)):
        figure.legend(loc="outside right upper", **look)
        return
    look |= {
        "columnspacing": 1.2,
        "handlelength": 2.2,
        "title": _wrapped(title.replace("\n", " "), figure, 0.85) or None,
    }
    look |= {"loc": "outside lower center"}
    legend = _as_wide_as_possible(figure.legend, figure.bbox.width, look)
    if is_narrow(figure):
        _grow(figure, legend.get_window_extent().height)


def _as_wide_as_possible(make: Callable[..., Legend], width: float, look: dict[str, Any]) -> Legend:
    """The legend of the most columns that fit into a width in pixels."""
    for columns in range(len(look["handles"]), 1, -1):
        legend = make(ncols=columns, **look)
        if legend.get_window_extent().width <= width:
            return legend
        legend.remove()
    return make(ncols=1, **look)


def _inside_or_below(axes: Axes, look: dict[str, Any]) -> None:
    legend = axes.legend(loc="best", **look)
    if legend.get_window_extent().height <= MOST_INSIDE * axes.bbox.height:
        return
    legend.remove()
    # Of a tall legend no place inside is free.
    under = axes.transAxes + ScaledTranslation(0.0, -BELOW / 72.0, figure_of(axes).dpi_scale_trans)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": under}
    _as_wide_as_possible(axes.legend, axes.bbox.width, {**look, **place})


def _grow(figure: Figure | SubFigure, pixels: float) -> None:
    if isinstance(figure, Page):
        figure.set_figheight(figure.get_figheight() + pixels / figure.dpi)


def note(where: Axes | Figure | SubFigure, parts: Sequence[str], *, share: float = 1.0) -> None:
    """Remarks above a picture, of the parts that are not empty.

    Args:
        where: the axes, or the figure of a picture of several.
        parts: clauses; empty ones are left out.
        share: of the width of the picture, which the remarks may take.
    """
    text = "; ".join(part for part in parts if part)
    if not text:
        return
    if _is_foreign(where):
        axes = cast(Axes, where)
        axes.set_title(_wrapped(text, axes), loc="left", **NOTE)
        return
    figure = figure_of(where)
    title = figure.suptitle(_wrapped(text, figure, share), x=0.01, ha="left", **NOTE)
    if is_narrow(figure):
        _grow(figure, title.get_window_extent().height)


def _wrapped(text: str, where: Axes | Figure | SubFigure, share: float = 1.0) -> str:
    points = share * INNER * where.bbox.width * 72.0 / cast(Any, figure_of(where)).dpi
    letter = CHARACTER * FontProperties(size=NOTE["fontsize"]).get_size_in_points()
    return "\n".join(textwrap.wrap(text, max(int(points / letter), 10)))


def save_figure(figure: Figure, path_without_suffix: Path, *, formats: Sequence[str], dpi: float | int) -> list[Path]:
    """Write a figure once per format, whole or not at all and with the same bytes each time; returns the paths.

    Args:
        figure: any.
        path_without_suffix: of the files.
        formats: any of png, svg and pdf.
        dpi: dots per inch of the png.
    """
    paths = [path_without_suffix.with_name(f"{path_without_suffix.name}.{suffix}") for suffix in formats]
    styled = figure.paper.styled() if isinstance(figure, Page) else contextlib.nullcontext()
    with styled, mpl.rc_context(FILES):
        ticks.plain_ticks(figure)
        for path, suffix in zip(paths, formats, strict=True):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=dpi, metadata=METADATA[suffix])
            # The other formats reuse the layout of the first: computing it takes longer than drawing.
            figure.set_layout_engine("none")
            with whole_file(path) as stream:
                stream.write(buffer.getbuffer())
    return paths
