"""The pictures and the animation of a record, drawn from its files alone, after the fit or later."""

import contextlib
import importlib
import logging
import threading
from pathlib import Path

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
    try:
        with heeding_interrupts(), timings.section("figures"):
            if cfg.figures.formats:
                _draw(cfg.figures, record)
        with heeding_interrupts(), timings.section("animation"):
            if cfg.animation.formats:
                render(cfg.animation, reading.read(record), record / artifacts.ANIMATION)
    except Exception as error:
        log.exception("the pictures failed")
        return f"A picture failed: {type(error).__name__}: {error}."
    return ""


def _draw(cfg: DictConfig, record: Path) -> None:
    from gmm_pipeline.pictures import pages, record_figures

    paper = pages.Paper(cfg.size, cfg.font_size, cfg.style)
    for name, one in record_figures.pictures_of(reading.read(record)).items():
        pages.save_figure(one.on(paper), record / artifacts.FIGURES / name, formats=cfg.formats, dpi=cfg.dpi)
