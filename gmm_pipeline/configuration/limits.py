"""Which values a key of the schema takes, beyond its type; `checks.check_values` holds a config to them.

A limit is data: what it allows, and the words for it. So every key of every command is checked by one function, and a
new key says its range where it is declared.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MOST_STEPS = 10**9
MOST_WORKERS = 10_000
MOST_REPEATS = 10**5
MOST_COMPONENTS = 10_000
MOST_FACTORS = 1000
MOST_CANDIDATES = 200
"""Largest number of components that `auto` may be asked to try; a fit of each takes seconds."""
MOST_ROWS = 10**9
MOST_POINTS = 10**6
MOST_EFFORT = 10**6
"""Largest number in the settings of a search."""
MOST_AT_ONCE = 10**4
"""Mixtures, and their evaluations, of one round of a search, which is computed at once."""
MOST_RUNS = 10**6
"""Of a sweep; to plan so many takes hours, as its progress bar says."""
LARGEST_PORT = 65535
LEAST_DPI, MOST_DPI = 20, 2400
"""At fewer dots per inch, fonts are too small to be drawn."""
LEAST_INCHES, MOST_INCHES = 0.5, 1000
MOST_FRAMES = 10_000
LEAST_FONT, LARGEST_FONT = 4, 40
LEAST_FPS, MOST_FPS = 0.01, 50
"""What the formats of animations can hold."""
LONGEST_HOLD_S = 600
LEAST_SHARE = 1e-6
PICTURE_FORMATS = {"figures": ("png", "svg", "pdf"), "animation": ("gif", "mp4", "html")}
"""File formats by config group; the modules that write them cannot be asked, since matplotlib is imported late."""
PICTURE_STYLES = ("default", "none")
PICTURED_RUNS = ("best", "all", "none")
THREADS, PROCESSES, RAY, DISTRIBUTED = EXECUTORS = ("threads", "processes", "ray", "distributed")
"""What computes the runs of a sweep, and last what computes one fit."""
MOST_PATIENCE_S = 10**6
ALL = "all"
"""Every device of a machine."""
LARGEST_WHOLE = 2**63 - 1
"""Larger whole numbers have no type in an array."""
DEEPEST_LIST = 6
"""Lists of hyperparameters are arrays, whose libraries end at about this many axes."""


class Whole(NamedTuple):
    """A whole number in a range, or one of some words in its place."""

    least: int
    most: int
    words: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What is expected."""
        return f"a whole number from {self.least} to {self.most}{''.join(f', or {word}' for word in self.words)}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one."""
        return (
            value in self.words if isinstance(value, str) else type(value) is int and self.least <= value <= self.most
        )


class Real(NamedTuple):
    """A finite number in a range."""

    least: float
    most: float = math.inf

    @property
    def said(self) -> str:
        """What is expected."""
        if self.most == math.inf:
            return f"a finite number, {self.least:g} or more"
        return f"a number from {self.least:g} to {self.most:g}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one."""
        return type(value) in (int, float) and self.least <= value <= self.most and value < math.inf


class OneOf(NamedTuple):
    """One of some words."""

    choices: tuple[str, ...]

    @property
    def said(self) -> str:
        """What is expected."""
        return f"one of {', '.join(self.choices)}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one."""
        return isinstance(value, str) and value in self.choices


class AnyOf(NamedTuple):
    """A list of some words."""

    choices: tuple[str, ...]
    fewest: int = 0

    @property
    def said(self) -> str:
        """What is expected."""
        least = ", at least one of them" if self.fewest else ""
        return f"a list of any of {', '.join(self.choices)}{least}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one."""
        return len(value) >= self.fewest and all(isinstance(one, str) and one in self.choices for one in value)


class Pair(NamedTuple):
    """Two numbers in a range."""

    least: float
    most: float

    @property
    def said(self) -> str:
        """What is expected."""
        return f"width and height in inches, two numbers from {self.least:g} to {self.most:g}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one."""
        return len(value) == 2 and all(Real(self.least, self.most).allows(one) for one in value)


class Text(NamedTuple):
    """A text that is not empty."""

    said: str = "a text"

    def allows(self, value: Any) -> bool:
        """Whether a value is one."""
        return isinstance(value, str) and value != "" and is_text(value)


class Function(NamedTuple):
    """A function named by `_target_`, with its hyperparameters."""

    said: str = "keys and values, with a _target_ among them"

    def allows(self, value: Any) -> bool:
        """Whether a value is one; its hyperparameters are checked by themselves."""
        return isinstance(value, Mapping) and isinstance(value.get("_target_"), str)


LEVEL = Real(0.5, 0.9999)
"""Of confidence."""
Limit = Whole | Real | OneOf | AnyOf | Pair | Text | Function

PLAIN = "a finite number, a text, a truth value, null, or a list of these"
"""What hyperparameters are."""


def is_text(value: str) -> bool:
    """Whether a text can be part of a path and of a file; a null character ends both in C."""
    return "\0" not in value


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value can be a hyperparameter.

    Args:
        value: of a config, resolved.
        depth: of the lists around it.
    """
    match value:
        case None | bool():
            return True
        case int():
            return abs(value) <= LARGEST_WHOLE
        case float():
            return math.isfinite(value)
        case str():
            return is_text(value)
    is_list = isinstance(value, Sequence) and depth < DEEPEST_LIST
    return is_list and all(is_plain(one, depth + 1) for one in value)
