"""Data files among the arguments of a command: `fit waiting.csv` is `fit data=file data.path=waiting.csv`.

An argument is a file if Hydra could not read it as an override, or if there is such a file and no such key. So a file
can have any name, and an override is never mistaken for one.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from gmm_pipeline import program
from gmm_pipeline.errors import InputError, nearest
from gmm_pipeline.records.formats import has_data_suffix
from gmm_pipeline.records.overrides import hydra_override

TAKE_DATA = ("fit", "predict")


def is_file(word: str) -> bool:
    """Whether an argument that looks like a flag is the name of an existing data file."""
    return has_data_suffix(word) and Path(word).exists()


def as_overrides(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments with an override in place of each data file.

    Args:
        command: that takes them.
        arguments: overrides and files first, then flags.

    Raises:
        InputError: an argument is neither, or there are more files than the command takes.
    """
    is_flag = [word.startswith("-") and not is_file(word) for word in arguments]
    n_overrides = is_flag.index(True) if True in is_flag else len(arguments)
    overrides, flags = arguments[:n_overrides], arguments[n_overrides:]
    files = [word for word in overrides if _is_data(command, word)]
    if not files:
        return list(arguments)
    if command not in TAKE_DATA:
        remedy = f"To write them there: {hydra_override('output', files[0])}."
        remedy = remedy if command == "simulate" else f"See {program.name()} {command} --help."
        raise InputError("the command line", expected="key=value", came=f"{files[0]}, a data file", remedy=remedy)
    rest = [word for word in overrides if word not in files]
    also = next((word for word in rest if word.startswith("data.path=")), None)
    if also is not None or (len(files) > 1 and not {"-m", "--multirun"} & {*flags}):
        raise InputError(
            "the command line",
            expected="one data file",
            came=" and ".join([*files, *([] if also is None else [also])]),
            remedy="Name one, or fit each of several: fit --multirun FILE FILE.",
        )
    chosen = [] if any(re.match(r"data=", word) for word in rest) else ["data=file"]
    # A name that begins with a tilde is not a home folder if there is such a file.
    paths = [f"./{file}" if file.startswith("~") and Path(file).exists() else file for file in files]
    return [*chosen, hydra_override("data.path", *paths), *rest, *flags]


def _is_data(command: str, word: str) -> bool:
    """Whether an argument is a data file.

    Raises:
        InputError: it is neither a file nor an override.
    """
    from gmm_pipeline.configuration.schemas import SCHEMAS

    keys = {*SCHEMAS[command].__dataclass_fields__, "hydra", "experiment"}
    first = re.split(r"[./@=]", word.lstrip("+~"), maxsplit=1)[0]
    if "=" in word:
        return first not in keys and is_file(word)
    if re.fullmatch(r"~[\w.@/]+", word) and not has_data_suffix(word):
        return False  # which removes a key
    if has_data_suffix(word) or (command in TAKE_DATA and ("/" in word or Path(word).exists()) and word not in keys):
        return True
    if command not in TAKE_DATA:
        return False
    close = [word] if word in keys else nearest(word, keys)
    raise InputError(
        "the command line",
        expected="key=value, or a data file",
        came=repr(word),
        remedy=f"Did you mean {close[0]}=VALUE?" if close else f"See {program.name()} {command} --help.",
    )
