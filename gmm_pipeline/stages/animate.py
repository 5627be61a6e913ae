"""`animate`: render the animation of a record, again or with other settings."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from gmm_pipeline import extras
from gmm_pipeline.configuration import animation_formats
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.reading import Record, read_checked
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.finding import LATEST, best_of_sweep, find_record
from gmm_pipeline.stages.running import drawing, latest, shown

log = logging.getLogger(__name__)


def render(animation: DictConfig, record: Record, folder: Path) -> list[Path]:
    """Render the training of a record in every format the config asks for.

    Args:
        animation: the config group.
        record: the data, and how the fit went.
        folder: for the animation.
    """
    record = record.of_complete_rows
    if not animation.formats or not len(record.data):
        return []
    formats = animation_formats.possible(animation.formats)
    if len(formats) < len(animation.formats):
        left_out = " or ".join(sorted({*animation.formats} - {*formats}))
        log.warning("no ffmpeg program, so no animation as %s. %s", left_out, extras.to_install("imageio-ffmpeg"))
    from gmm_pipeline.pictures.animations import animate_training, save_animation

    training = animate_training(
        record.history,
        record.data,
        record.sample_weights,
        name=record.data_info["name"],
        unit=record.unit,
        columns=record.columns,
        log_noise=record.log_noise,
        frames=animation.frames,
        size=animation.size,
        dpi=animation.dpi,
    )
    with terminal.progress_bar("rendering", "frames") as progress:
        return save_animation(
            training,
            folder,
            formats=formats,
            fps=animation.fps,
            hold=animation.hold,
            progress=progress,
        )


def run(cfg: DictConfig, *, started: float) -> None:
    """Render the animation of a record and print where it is.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter; not used.
    """
    if not cfg.animation.formats:
        raise InputError(
            "animation.formats",
            expected="at least one of gif, mp4 and html",
            came="none",
            remedy="Choose animation=default.",
        )
    animation_formats.possible(cfg.animation.formats)
    record = find_record(cfg.run, cfg.outputs_dir)
    content = read_checked(record)
    folder = record / artifacts.ANIMATION if cfg.output is None else Path(cfg.output)
    if cfg.output is None and folder.is_symlink():  # of a record that someone else made
        raise InputError(
            str(shown(folder)),
            expected="a folder of the record",
            came=f"a link to {folder.readlink()}",
            remedy="Remove the link, or name a place of your own with output=FOLDER.",
        )
    with drawing(f"The record in {shown(record.absolute())} is unchanged."):
        paths = render(cfg.animation, content, folder)
    if cfg.run == LATEST and best_of_sweep(record.parent) is not None:
        terminal.say(f"latest: {latest(record)}")
    for path in paths:
        terminal.say(f"animation: {shown(path.absolute())}")
