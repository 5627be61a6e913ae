"""A plain function with its hyperparameters, made from a config node with `_target_`.

Unlike `functools.partial` it compares and hashes by value, so that two jobs with the same settings share one compiled
program. Hyperparameters that differ between the runs of one program are removed (`without`) and passed back as arrays
inside it (`given`). The price: hyperparameters must be hashable, which numbers, strings and tuples are.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Absent(Enum):
    """Placeholder for a hyperparameter that is passed to the program later."""

    LATER = "an argument of the program"


@dataclass(frozen=True)
class Plugin:
    """A function and the keyword arguments that the config gives it."""

    function: Callable[..., Any]
    hyperparameters: tuple[tuple[str, Any], ...]

    def __call__(self, *args: Any) -> Any:
        """Call the function with its hyperparameters."""
        return self.function(*args, **dict(self.hyperparameters))

    def numbers(self, *kinds: type) -> tuple[str, ...]:
        """Names of the hyperparameters that are numbers of these kinds."""
        return tuple(name for name, value in self.hyperparameters if type(value) in kinds)

    def without(self, names: Iterable[str]) -> "Plugin":
        """The same function without these hyperparameters, which are passed later."""
        return self.given(dict.fromkeys(names, Absent.LATER))

    def given(self, values: Mapping[str, Any]) -> "Plugin":
        """The same function with some hyperparameters replaced."""
        return Plugin(self.function, tuple((name, values.get(name, value)) for name, value in self.hyperparameters))

    def number_of_data(self) -> int:
        """How many positional arguments the function takes: its data, since hyperparameters are keyword-only."""
        return _number_of_positional(self.function, frozenset(dict(self.hyperparameters)))


@functools.cache
def _number_of_positional(function: Callable[..., Any], taken: frozenset[str]) -> int:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(parameter.kind in positional and parameter.name not in taken for parameter in parameters)
