"""Translates the arguments of `rerun` into those of the run that they ask for.

`rerun run=RECORD` is a fit whose defaults are the values of the record, as `fit config=RECORD/config.yaml` has them,
with neither pictures nor tracking, and a comparison at its end. With overrides that affect the fit it is that fit, and
nothing else. So there is one path through the code for all of them; the price is that the record is looked up before
Hydra composes anything.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmm_pipeline.configuration import config_files
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.configuration.command_help import composed, option_folders
from gmm_pipeline.configuration.schemas import SCHEMAS
from gmm_pipeline.errors import InputError
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.contents import damage_reported, opened
from gmm_pipeline.records.finding import read_part
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.stages.finding import lasting_record

OF_THE_COMMAND = ("run", "hydra")
"""Keys that make no variation, besides those without effect on what is fitted."""
ANSWERED_AT_ONCE = ("-h", "--help", "--hydra-help", "-sc", "--shell-completion", "--version")


class Routed(NamedTuple):
    """What is run in place of `rerun`."""

    command: str
    """`rerun`, or `fit` for a variation."""
    primary: str
    arguments: list[str]


def routed(arguments: Sequence[str]) -> Routed:
    """Find the requested record, and decide what is run.

    Args:
        arguments: of the command line, without the command.

    Raises:
        InputError: there is no such record, it has no result, or the arguments are not for `rerun`.
    """
    if set(arguments) & {*ANSWERED_AT_ONCE}:
        return Routed("rerun", "rerun", list(arguments))
    if {"-m", "--multirun"} & {*arguments}:
        raise InputError(
            "--multirun",
            expected="one run",
            came="a sweep",
            remedy="For a sweep of variations: fit --multirun config=RECORD/config.yaml seed=1,2.",
        )
    if any(_key(word) == "config" for word in arguments):
        raise InputError(
            "config", expected="run=RECORD", came="config", remedy="To fit from a config file: fit config=FILE."
        )
    from gmm_pipeline.stages.loading import WITHOUT_EFFECT

    record = _record(arguments)
    file = record / artifacts.CONFIG
    taken = _with_absolute_paths(config_files.read(file, "fit"), record)
    set_keys = {_key(word) for word in arguments} - {""}
    is_variation = not set_keys <= {*WITHOUT_EFFECT, *OF_THE_COMMAND}
    kept = [word for word in arguments if _key(word) != "run"]
    asked = [hydra_override("config", str(file)), *kept]
    if is_variation:
        return Routed("fit", config_files.register("fit", taken), asked)
    return Routed("rerun", config_files.register("fit", taken, overlay="rerun"), asked)


def _key(word: str) -> str:
    """The first part of what an override sets; empty for a flag and its argument."""
    match = re.match(r"(?:\+{1,2}|~)?([A-Za-z_]\w*)(?:[./@]\S*?)?(?:=|$)", word)
    return match.group(1) if match and ("=" in word or word.startswith("~")) else ""


def _record(arguments: Sequence[str]) -> Path:
    """The record, or a permanent copy of what MLflow has of it.

    Raises:
        InputError: there is none, or it has no result.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # All of `rerun`'s own keys, so that one which only a sweep reads is refused here.
    own = [word for word in arguments if _key(word) in SCHEMAS["rerun"].__dataclass_fields__]
    store = [] if any(re.match(r"tracking=", word) for word in own) else ["tracking=mlflow"]
    try:
        cfg = composed("rerun", [*store, *own], option_folders(arguments))
    except (HydraException, OmegaConfBaseException) as error:
        raise as_mistake(error, "rerun") or error from None
    record = lasting_record(cfg.run, cfg.outputs_dir, cfg.tracking.uri)
    with damage_reported(record):
        about = opened(record)
    if about.get("status") not in ("finished", "diverged"):
        raise InputError(
            "run",
            expected="a run with a result",
            came=f"{record}, which {about.get('status', 'has no status')}: {about.get('error', 'no reason')}",
            remedy="Its config is in config.yaml there: fit config=FILE runs it.",
        )
    if not (record / artifacts.CONFIG).is_file():
        raise InputError(
            "run",
            expected=f"a record with its {artifacts.CONFIG}",
            came=f"{record}, which has none",
            remedy="Choose another run.",
        )
    return record


def _with_absolute_paths(taken: dict[str, Any], record: Path) -> dict[str, Any]:
    """The values, with data paths that were relative to another folder made absolute."""
    data = dict(taken.get("data", {}))
    path = Path(str(data.get("path")))
    if "path" not in data or path.is_absolute() or path.exists():
        return taken
    source = Path(read_part(record / artifacts.DATA)["source"])
    if source.parts[-len(path.parts) :] != path.parts:
        return taken
    base = Path(*source.parts[: -len(path.parts)])
    relative = {name: value for name, value in data.items() if name in ("path", "truth") and isinstance(value, str)}
    return taken | {"data": data | {name: str(base / value) for name, value in relative.items()}}
