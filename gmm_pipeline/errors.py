"""The two exceptions that the command line turns into one message: exit code 2 for a mistake, 1 for a failure.

Anything else is a fault of the program and ends in a traceback.
"""

import difflib
import errno
from collections.abc import Iterable
from typing import TypeGuard

MOST_CHARACTERS = 400
"""Of what was found instead; the middle of more is left out."""


class InputError(ValueError):
    """A key, file or value of the user's that cannot be used.

    Args:
        where: the config key or file, such as `data.scales` or `waiting.csv`.
        expected: what would have been right.
        came: what was found instead.
        remedy: what to do about it, as a sentence.
    """

    def __init__(self, where: str, *, expected: str, came: str, remedy: str):
        if len(came) > MOST_CHARACTERS:
            came = f"{came[: MOST_CHARACTERS // 2]} … {came[-MOST_CHARACTERS // 2 :]}"
        self.where = where
        self.expected = expected
        self.came = came
        self.remedy = remedy
        super().__init__(f"{where}: expected {expected}, but got {came}. {remedy}")


class RunFailed(RuntimeError):  # noqa: N818 - it names an outcome rather than a mistake
    """What could not be brought to its end though the input was right; whatever was computed is kept."""


REPORTED = "already reported"
"""A note on an exception whose message the user has seen."""


def is_full_disk(error: object) -> TypeGuard[OSError]:
    """Whether something could not be written for want of room: on the disk, in a quota, or in a file."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def nearest(name: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that look most like `name`, best first, at most three.

    Args:
        name: as the user wrote it.
        candidates: the names that exist.
    """
    candidates = list(candidates)
    close = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5)
    # "learning_rate" is far from "optimizer.learning_rate" as a whole and is its last part.
    ends = [candidate for candidate in candidates if candidate.rpartition(".")[2] == name]
    return list(dict.fromkeys([*ends, *close]))[:3]
