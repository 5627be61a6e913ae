"""`repair`: fix the paths in a local tracking store after its folder was moved or copied."""

from pathlib import Path

from omegaconf import DictConfig

from gmm_pipeline.errors import InputError
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import shown
from gmm_pipeline.tracking.repair import repair
from gmm_pipeline.tracking.store import store_file


def load(cfg: DictConfig) -> tuple[Path, Path]:
    """The file of the store and the folder of the records.

    Raises:
        InputError: there is no such store that can be repaired, or no such folder.
    """
    if cfg.tracking.uri is None:
        raise InputError(
            "tracking.uri", expected="a store", came="null", remedy="Leave out tracking=none, or name the store's file."
        )
    file = store_file(cfg.tracking.uri)
    if file is None:
        raise InputError(
            "tracking.uri",
            expected="the file of a store, sqlite:///FILE",
            came=f"{cfg.tracking.uri}, a server",
            remedy="Only on the server's machine can they be fixed: stop the server, and name its database there.",
        )
    if not Path(cfg.outputs_dir).is_dir():
        raise InputError(
            "outputs_dir",
            expected="the folder of the records, where it is now",
            came=f"{cfg.outputs_dir}, which is not a folder",
            remedy="Name the folder, such as outputs_dir=/new/place/outputs.",
        )
    if not file.exists():
        raise InputError(
            "tracking.uri",
            expected="the store of earlier runs",
            came=f"{file}, which does not exist",
            remedy="Name the folder that it is in with outputs_dir, or its file with tracking.uri=sqlite:///FILE.",
        )
    return file, Path(cfg.outputs_dir)


def run(cfg: DictConfig, *, started: float) -> None:
    """Repair the store and print what was changed.

    Args:
        cfg: the composed config.
        started: when the program began, on the performance counter; not used.
    """
    file, outputs = load(cfg)
    repaired = repair(file, outputs)
    if repaired.changed:
        terminal.say(*(f"moved from {move.old} to {move.new}" for move in repaired.moves))
        terminal.say("paths fixed: " + ", ".join(f"{count:,} {name}" for name, count in repaired.changed.items()))
    else:
        terminal.say(f"nothing to repair in {shown(file)}: no path in it has moved to {shown(outputs.absolute())}")
    if repaired.backup is not None:
        terminal.say(f"the store as it was: {shown(repaired.backup)}; to undo, rename it to {file.name}")
    if repaired.lost:
        terminal.say(f"records that are neither at their stored path nor in the folder: {repaired.lost:,}")
