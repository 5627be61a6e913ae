"""The two exceptions that the command line turns into one message: exit code 2 for a mistake, 1 for a failure.

Anything else is a bug and ends in a traceback.
"""

import contextlib
import difflib
import errno
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeGuard

MOST_CHARACTERS = 400
"""Longest text of what was given instead, a quarter of the longest remedy; of longer ones the middle is left out."""


class InputError(ValueError):
    """A key, file or value of the user's that cannot be used.

    Args:
        where: the config key or file, such as `data.scales` or `waiting.csv`.
        expected: what would have been right.
        came: what was given instead.
        remedy: what to do about it, as a sentence.
    """

    def __init__(self, where: str, *, expected: str, came: str, remedy: str):
        where, came, remedy = _shortened(where), _shortened(_clause(came)), _shortened(remedy, 4 * MOST_CHARACTERS)
        self.where = where
        self.expected = expected
        self.came = came
        self.remedy = remedy
        super().__init__(_in_one_line(f"{where}: expected {expected}, but got {came}. {remedy}"))

    def __reduce__(self) -> tuple[Callable[..., "InputError"], tuple[str, ...]]:
        return _again, (self.where, self.expected, self.came, self.remedy)


def _again(where: str, expected: str, came: str, remedy: str) -> InputError:
    """The error in another process, which takes it over from here."""
    return InputError(where, expected=expected, came=came, remedy=remedy)


def _clause(text: str) -> str:
    """A text without the full stop of a sentence, as the messages of libraries are."""
    return text[:-1] if text.endswith(".") and text[-2:-1].isalnum() else text


def _shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _in_one_line(text: str) -> str:
    """A text with escapes in the place of line breaks and of what moves or hides other characters."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


class RunFailed(RuntimeError):  # noqa: N818 - it names an outcome rather than a mistake
    """A valid command that could not finish; whatever was computed is kept."""


REPORTED = "already reported"
"""A note on an exception whose message the user has seen."""


def is_full_disk(error: object) -> TypeGuard[OSError]:
    """Whether a write failed because a disk is full, a quota is exceeded or a file is too large."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Interrupted(KeyboardInterrupt):
    """A signal that asks a command to end: Ctrl-C, or what schedulers, containers and closed terminals send."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = signal.Signals(number)


_arrived: list[int] = []
_deferring: list[int] = []
"""How many had arrived when each deferral began that is not over."""


def interrupt(number: int, _: object) -> None:
    """The handler of such a signal, which notes that it came: a library may turn the exception into another.

    Args:
        number: of the signal.
    """
    _arrived.append(number)
    if not _deferring:
        raise Interrupted(number)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Raise an interrupt at the end, or at that of a deferral outside, of a command alone.

    For imports: extension modules that are interrupted meanwhile may crash, or fail in words of their own. And for the
    while in which Hydra makes the folder of a run, whose name it does not say before.

    Raises:
        KeyboardInterrupt: there was one.
    """
    before, depth = len(_arrived), len(_deferring)
    _deferring.append(before)
    try:
        yield
    finally:
        ended, _deferring[depth:] = len(_deferring) <= depth, []
    if len(_arrived) > before and not _deferring and not ended:
        raise Interrupted(_arrived[-1])


def heed_interrupts() -> None:
    """End all deferrals.

    Raises:
        KeyboardInterrupt: there was an interrupt meanwhile.
    """
    before = _deferring[0] if _deferring else len(_arrived)
    _deferring.clear()
    if len(_arrived) > before:
        raise Interrupted(_arrived[-1])


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Let an interrupt stay one where a library that was interrupted fails at its own clean-up, as OmegaConf does.

    Belongs inside each `except Exception` that goes on after an error or tells it as another.

    Raises:
        KeyboardInterrupt: an error was raised while an interrupt was on its way out, or after one that a library lost.
    """
    handled, before = sys.exception(), len(_arrived)
    try:
        yield
    except (InputError, RunFailed):
        raise
    except Exception as error:
        if len(_arrived) > before:
            raise Interrupted(_arrived[-1]) from error
        behind: BaseException | None = error
        while behind is not None and behind is not handled:
            if isinstance(behind, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            behind = behind.__cause__ or behind.__context__
        raise


def nearest(name: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that look most like `name`, best first, at most three.

    Args:
        name: as the user wrote it.
        candidates: the names that exist.
    """
    candidates = list(candidates)
    close = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5)
    # "learning_rate" does not resemble "optimizer.learning_rate" as a whole, but is its last part.
    ends = [candidate for candidate in candidates if candidate.rpartition(".")[2] == name]
    return list(dict.fromkeys([*ends, *close]))[:3]
