"""The pictures and the animation of a record, drawn from its files alone, after the fit or later."""

import contextlib
import functools
import importlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gmm_pipeline.errors import heeding_interrupts
from gmm_pipeline.records import artifacts, reading
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.animate import render

log = logging.getLogger(__name__)


def import_beside() -> None:
    """Import the drawing library in a thread while the fit computes; if that fails, drawing reports it."""

    def load() -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("gmm_pipeline.pictures.record_figures")

    threading.Thread(target=load, daemon=True).start()


def picture(cfg: DictConfig, record: Path, timings: Timings) -> str:
    """Draw and animate a record; returns what went wrong rather than raise it: no fit is lost over a picture.

    Args:
        cfg: with the groups figures and animation.
        record: a folder with the numbers of a fit.
        timings: of the run; the time of drawing is added.
    """
    failed: list[str] = []
    with timings.section("figures"):
        if cfg.figures.formats:
            for draw in _drawings(cfg.figures, record, failed):
                _attempt(draw, failed)
    with timings.section("animation"):
        if cfg.animation.formats:
            _attempt(lambda: render(cfg.animation, reading.read(record), record / artifacts.ANIMATION), failed)
    others = f" {len(failed) - 1} more failed: see the log." if len(failed) > 1 else ""
    return f"A picture failed: {failed[0]}.{others}" if failed else ""


def _drawings(cfg: DictConfig, record: Path, failed: list[str]) -> list[Callable[[], Any]]:
    """What draws and saves each picture of a record."""
    pictures: dict[str, Any] = {}

    def compose() -> None:
        from gmm_pipeline.pictures import record_figures

        pictures.update(record_figures.pictures_of(reading.read(record)))

    def draw(name: str) -> None:
        from gmm_pipeline.pictures import pages

        paper = pages.Paper(cfg.size, cfg.font_size, cfg.style)
        place = record / artifacts.FIGURES / name
        pages.save_figure(pictures[name].on(paper), place, formats=cfg.formats, dpi=cfg.dpi)

    _attempt(compose, failed)
    return [functools.partial(draw, name) for name in pictures]


def _attempt(draw: Callable[[], Any], failed: list[str]) -> None:
    """Draw; what goes wrong is logged and noted, and costs no other picture."""
    try:
        with heeding_interrupts():
            draw()
    except Exception as error:
        log.exception("a picture failed")
        failed.append(f"{type(error).__name__}: {error}")
