"""A plain function with its hyperparameters: what a config node with `_target_` becomes.

Unlike `functools.partial` it compares and hashes by value, so that two jobs with the same settings share one compiled
program. The price: hyperparameters must be hashable, which numbers, strings and tuples are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plugin:
    """A function and the keyword arguments that the config gives it."""

    function: Callable[..., Any]
    hyperparameters: tuple[tuple[str, Any], ...]

    def __call__(self, *args: Any) -> Any:
        """Call the function with its hyperparameters."""
        return self.function(*args, **dict(self.hyperparameters))
