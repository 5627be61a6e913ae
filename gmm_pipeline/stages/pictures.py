"""The pictures and the film of a record, drawn from its files alone: after the fit, or whenever they are asked for."""

import logging
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from gmm_pipeline.model.mixture import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import Assignments, History
from gmm_pipeline.records.files import read_json
from gmm_pipeline.records.timings import Timings
from gmm_pipeline.stages.animate import render

log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """What is drawn of a record."""

    name: str
    unit: str | None
    truth: Mixture | None
    fitted: Mixture
    history: History
    assignments: Assignments


def read(record: Path) -> Drawn:
    """What is drawn of a record, from its files."""
    data = read_json(record / artifacts.DATA)
    return Drawn(
        name=data["name"],
        unit=data["unit"],
        truth=None if data["truth"] is None else artifacts.mixture_from_json(data["truth"]),
        fitted=artifacts.mixture_from_json(read_json(record / artifacts.PARAMETERS)),
        history=artifacts.read_history(record / artifacts.HISTORY),
        assignments=artifacts.read_assignments(record / artifacts.ASSIGNMENTS),
    )


def picture(cfg: DictConfig, record: Path, timings: Timings) -> str:
    """Draw and film a record; says what went wrong rather than raise it, since no fit is lost over a picture.

    Args:
        cfg: with the groups figures and animation.
        record: a folder with the numbers of a fit.
        timings: where the time is noted.
    """
    try:
        with timings.section("figures"):
            if cfg.figures.formats:
                _draw(cfg.figures, read(record), record / artifacts.FIGURES)
        with timings.section("animation"):
            if cfg.animation.formats:
                drawn = read(record)
                render(cfg.animation, drawn.history, drawn.assignments, drawn._asdict(), record)
    except Exception as error:
        log.exception("the pictures failed")
        return f"A picture failed: {type(error).__name__}: {error}."
    return ""


def _draw(cfg: DictConfig, drawn: Drawn, folder: Path) -> None:
    from gmm_pipeline.records import figures

    known = {"unit": drawn.unit, "size": cfg.size}
    data, sample_weights = drawn.assignments.data, drawn.assignments.sample_weights
    pictures = {
        "fitted_density": figures.draw_fitted_density(
            data, sample_weights, drawn.fitted, drawn.truth, name=drawn.name, **known
        ),
        "loss": figures.draw_loss(drawn.history, size=cfg.size),
        "parameter_traces": figures.draw_parameter_traces(drawn.history, drawn.truth, **known),
        "weights": figures.draw_weights(drawn.fitted, drawn.truth, **known),
    }
    for name, figure in pictures.items():
        figures.save_figure(figure, folder / name, formats=cfg.formats, dpi=cfg.dpi)
