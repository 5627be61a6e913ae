"""`simulate`: draw data from a generating spec; write them, their truth and a picture."""

import shlex
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from gmm_pipeline import program
from gmm_pipeline.configuration import config, targets
from gmm_pipeline.configuration.schemas import Precision
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.columns import COLUMN, COLUMNS
from gmm_pipeline.records.datasets import Dataset
from gmm_pipeline.records.files import column_format, write_columns, write_json
from gmm_pipeline.records.overrides import hydra_list
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import check_output, drawing, quoted_override, shown

COMPONENT = "component"
"""Name of the column with the component of each datum."""
DATUM = "datum"
"""Name of the column of data that have only one."""


def load(cfg: DictConfig) -> Dataset:
    """Draw the data, once it is known that they can be written.

    Raises:
        InputError: the spec is wrong, or `data` is not a spec, or the output cannot be written.
    """
    column_format(Path(cfg.output))
    check_output(Path(cfg.output))
    return drawn(cfg)


def drawn(cfg: DictConfig) -> Dataset:
    """Draw the data.

    Args:
        cfg: the composed config.

    Raises:
        InputError: the spec is wrong, or `data` is not a spec.
    """
    config.configure_jax(
        threefry_partitionable=cfg.threefry_partitionable, precision=Precision.float32, compilation_cache=None
    )
    dataset = targets.build_dataset(cfg)
    if dataset.truth is None or dataset.components is None:
        raise InputError(
            "data", expected="a generating spec", came=dataset.source, remedy="Choose one, such as data=two_modes."
        )
    if COMPONENT in dataset.columns:
        remedy = "The component of each datum is written under that name."
        raise InputError(COLUMNS, expected=f"names other than {COMPONENT}", came=COMPONENT, remedy=remedy)
    return dataset


def columns_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """Data that were drawn as columns of a table, the component of each datum last.

    Args:
        dataset: of a generating spec.
    """
    columns = dict(zip(dataset.columns, dataset.data.T, strict=True)) if dataset.columns else {DATUM: dataset.data}
    return columns if dataset.components is None else {**columns, COMPONENT: dataset.components}


def save(cfg: DictConfig, dataset: Dataset) -> None:
    """Write the data, and beside them `<name>_truth.json` and `<name>_histogram.png` or `.svg`.

    Args:
        cfg: the composed config.
        dataset: what was drawn.
    """
    output = Path(cfg.output)
    if dataset.truth is None or dataset.components is None:
        return
    write_columns(output, columns_of(dataset))
    truth = output.with_name(f"{output.stem}_truth.json")
    named = {"columns": dataset.columns} if dataset.columns else {}
    drawn = {"digest": dataset.digest, "source": dataset.source}
    write_json(truth, {**artifacts.mixture_as_json(dataset.truth), **named, **drawn})
    terminal.say(
        f"{dataset.name}: {dataset.source}",
        f"data: {shown(output)}",
        f"truth: {shown(truth)}",
    )
    if cfg.figures.formats and isinstance(dataset.truth, Mixture):
        from gmm_pipeline.pictures import figures, pages
        from gmm_pipeline.pictures.drawing import Column

        with drawing(f"The data are in {shown(output)}."):
            paper = pages.Paper(cfg.figures.size, cfg.figures.font_size, cfg.figures.style)
            column = Column(dataset.data, None, dataset.name, dataset.unit)
            page = paper.on_axes(figures.draw_density, column, None, dataset.truth)
            stem = output.with_name(f"{output.stem}_histogram")
            paths = pages.save_figure(page, stem, formats=cfg.figures.formats, dpi=cfg.figures.dpi)
        terminal.say(*(f"picture: {shown(path)}" for path in paths))
    overrides = [quoted_override("data.path", str(shown(output))), quoted_override("data.truth", str(shown(truth)))]
    overrides += [shlex.quote(hydra_list(COLUMNS, dataset.columns)) if dataset.columns else f"{COLUMN}={DATUM}"]
    terminal.say(
        f"fit them: {program.name()} fit data=file {' '.join(overrides)} n_components={len(dataset.truth.weights)}"
    )


def run(cfg: DictConfig, *, started: float) -> None:
    """Draw data and write them.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter; not used.
    """
    save(cfg, load(cfg))
