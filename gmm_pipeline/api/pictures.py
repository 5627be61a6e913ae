"""The pictures of a fit, drawn where Python asks for them."""

import base64
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.api.composing import composed, overrides_of
from gmm_pipeline.configuration.checks import check_pictures
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.configuration.schemas import AnimationConfig, SingleAnimationConfig
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.records.files import whole_file
from gmm_pipeline.records.reading import Record
from gmm_pipeline.stages.animate import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

DENSITY = "fitted_density"
GIF = "gif"


class Plots:
    """The pictures of a fit by name, those of its record: `plot.NAME(ax=ax)`; `dir(plot)` lists them."""

    def __init__(self, run: Record):
        """Keep what is drawn.

        Args:
            run: the record.
        """
        self._run = run

    def __call__(
        self, name: str = DENSITY, *, ax: "Axes | None" = None, figure: "Figure | SubFigure | None" = None
    ) -> "Axes | list[Axes]":
        """Draw a picture and return its axes; a notebook shows it at the end of the cell.

        Args:
            name: of the picture.
            ax: where to draw; None for a page of its own, in the size and style of the config's `figures`.
            figure: the same for a picture of several axes.

        Raises:
            InputError: the fit has no such picture, or it needs the other of `ax` and `figure`.
        """
        from gmm_pipeline.pictures.pages import Paper

        found = self._found
        if name not in found:
            close = nearest(name, list(found))
            remedy = f"Did you mean {close[0]!r}?" if close else "Choose one of these."
            raise InputError("plot", expected=", ".join(sorted(found)), came=repr(name), remedy=remedy)
        picture = found[name]
        needed, other = ("figure", ax) if picture.has_panels else ("ax", figure)
        if other is not None:
            came = "ax" if picture.has_panels else "figure"
            remedy = "Make one: fig = plt.figure()." if picture.has_panels else "Make some: fig, ax = plt.subplots()."
            raise InputError(f"plot.{name}", expected=f"{needed}=", came=f"{came}=", remedy=remedy)
        where = figure if picture.has_panels else ax
        if where is not None:
            _check_place(where, needed)
            return picture.draw(**{needed: where})
        look = _settings(self._run, "figures")
        page = picture.on(Paper(look["size"], look["font_size"], look["style"], shown=True))
        return page.axes if picture.has_panels else page.axes[0]

    def __getattr__(self, name: str) -> "Callable[..., Axes | list[Axes]]":
        if name.startswith("_") or name not in self._found:
            raise AttributeError(f"this fit has no picture {name!r}, only {', '.join(sorted(self._found))}")
        return partial(self, name)

    def __dir__(self) -> Iterator[str]:
        yield from sorted(self._found)

    @property
    def _found(self) -> Mapping[str, Any]:
        from gmm_pipeline.pictures.record_figures import pictures_of

        return pictures_of(self._run)


def _check_place(where: Any, needed: str) -> None:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if not isinstance(where, Axes if needed == "ax" else FigureBase):
        expected = "Matplotlib axes, or None" if needed == "ax" else "a Matplotlib figure, or None"
        remedy = "Make some: fig, ax = plt.subplots()." if needed == "ax" else "Make one: fig = plt.figure()."
        raise InputError(needed, expected=expected, came=f"{type(where).__name__} {where!r:.60}", remedy=remedy)


class Animation:
    """A film as a gif, which a notebook shows."""

    def __init__(self, gif: bytes):
        """Keep the film.

        Args:
            gif: the content of the file.
        """
        self.gif = gif

    def save(self, path: str | Path) -> Path:
        """Write the film and return its path.

        Args:
            path: of the file, ending in .gif.

        Raises:
            InputError: the name does not end so.
        """
        file = Path(path).expanduser()
        if file.suffix != f".{GIF}":
            remedy = "For mp4 and html use the command animate on a record."
            raise InputError("path", expected=f"a file name that ends in .{GIF}", came=str(path), remedy=remedy)
        with whole_file(file) as stream:
            stream.write(self.gif)
        return file

    def __repr__(self) -> str:
        return "animation of the training"

    def _repr_html_(self) -> str:
        return f'<img alt="{self!r}" src="data:image/gif;base64,{base64.b64encode(self.gif).decode()}">'


def animation_of(run: Record, settings: Mapping[str, Any]) -> Animation:
    """The training of a record as a film.

    Args:
        run: the record.
        settings: of the key `animation`, in place of the record's.

    Raises:
        InputError: a setting cannot be used.
    """
    known = _settings(run, "animation")
    allowed = sorted({*known} - {"formats", "sweep"})
    unknown = sorted({*settings} - {*allowed})
    if unknown:
        raise InputError("animate", expected=", ".join(allowed), came=unknown[0], remedy="Choose one of these.")
    checked = composed(overrides_of({"animation": settings}), command="animate")["animation"]
    node = {**known, **{name: checked[name] for name in settings}, "formats": [GIF]}
    check_pictures("animation", AnimationConfig if "sweep" in node else SingleAnimationConfig, node)
    cfg = DictConfig({"animation": node})
    with tempfile.TemporaryDirectory() as folder:
        (file,) = render(cfg.animation, run, Path(folder))
        return Animation(file.read_bytes())


def _settings(run: Record, group: str) -> dict[str, Any]:
    """Those of the record, and the present defaults of what an older one lacks."""
    defaults: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / group / "default.yaml"))
    return {**defaults, **run.config.get(group, {})}
