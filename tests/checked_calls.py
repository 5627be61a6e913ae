"""Which calls have their shapes checked: imported before the package, whose decorators are these from then on.

Checking every call takes a tenth of the time of all tests. A function is checked in its first calls in each test; one
inside another, which is made and decorated anew in each call of that one, where it is made for the first time. The
price: what only a later call is given or returns is checked by what the test asserts.
"""

import functools
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import jaxtyping

MOST_CHECKED = 20
"""Calls of a function in a test."""

calls: Counter[types.CodeType] = Counter()
"""How often each function was called in this test, up to that number."""


def _checked_at_first(decorate: Callable[..., Any]) -> Callable[..., Any]:
    made = set()

    def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
        def wrapped(function: Any) -> Any:
            code = getattr(function, "__code__", None)
            if code is None:  # a class
                return decorate(function, typechecker=typechecker)
            if "<locals>" in function.__qualname__:
                if code in made:
                    return function
                made.add(code)
            checked = decorate(function, typechecker=typechecker)

            @functools.wraps(function)
            def call(*arguments: Any, **named: Any) -> Any:
                if calls[code] >= MOST_CHECKED:
                    return function(*arguments, **named)
                calls[code] += 1
                return checked(*arguments, **named)

            return call

        return wrapped

    return jaxtyped


jaxtyping.jaxtyped = _checked_at_first(jaxtyping.jaxtyped)
