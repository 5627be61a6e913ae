"""`animate`: render the animation of a record, again or with other settings."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gmm_pipeline.checks import check_pictures
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import Assignments, History
from gmm_pipeline.records.files import read_json
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import shown


def find_record(run: str, outputs_dir: str) -> Path:
    """The folder of a finished record.

    Args:
        run: a folder, or `latest` for the newest fit under `outputs_dir`.
        outputs_dir: folder of the records.

    Raises:
        InputError: where there is no such record.
    """
    places = (f"fit/*/{artifacts.RECORD}", f"sweeps/*/*/{artifacts.RECORD}")
    written = [path for place in places for path in Path(outputs_dir).glob(place)]
    finished = [path.parent for path in sorted(written, key=lambda path: path.stat().st_mtime_ns)]
    if run == "latest":
        if not finished:
            raise InputError(
                "run",
                expected=f"a record under {outputs_dir}",
                came="none",
                remedy="Make one: python -m gmm_pipeline fit.",
            )
        return finished[-1]
    folder = Path(run)
    if not (folder / artifacts.RECORD).is_file():
        close = nearest(run, [str(path) for path in finished])
        raise InputError(
            "run",
            expected=f"the folder of a record, with a {artifacts.RECORD}",
            came=run,
            remedy=f"Did you mean {close[0]}?" if close else "The newest fit is run=latest.",
        )
    return folder


def render(
    animation: DictConfig, history: History, assignments: Assignments, description: dict[str, Any], record: Path
) -> list[Path]:
    """Render the training of a record in every format the config asks for.

    Args:
        animation: the config group.
        history: how the fit went.
        assignments: the data and their sample weights.
        description: name and unit of the data.
        record: folder of the record.
    """
    if not animation.formats:
        return []
    from gmm_pipeline.records.animations import animate_training, save_animation

    film = animate_training(
        history,
        assignments.data,
        assignments.sample_weights,
        name=description["name"],
        unit=description["unit"],
        frames=animation.frames,
        size=animation.size,
        dpi=animation.dpi,
    )
    with terminal.progress_bar("rendering", "frames") as progress:
        return save_animation(
            film,
            record / artifacts.ANIMATION,
            formats=animation.formats,
            fps=animation.fps,
            hold=animation.hold,
            progress=progress,
        )


def run(cfg: DictConfig, *, started: float) -> None:
    """Render the animation of a record and say where it lies."""
    check_pictures(cfg, "animation")
    if not cfg.animation.formats:
        raise InputError(
            "animation.formats",
            expected="at least one of gif, mp4 and html",
            came="none",
            remedy="Choose animation=default.",
        )
    record = find_record(cfg.run, cfg.outputs_dir)
    history = artifacts.read_history(record / artifacts.HISTORY)
    assignments = artifacts.read_assignments(record / artifacts.ASSIGNMENTS)
    for path in render(cfg.animation, history, assignments, read_json(record / artifacts.DATA), record):
        terminal.say(f"animation: {shown(path.absolute())}")
