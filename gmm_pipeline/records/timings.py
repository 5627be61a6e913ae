"""Where the time of a command went, for the record's `timings` section."""

import contextlib
import time
from collections.abc import Iterator


class Timings:
    """Seconds by section, in the order they were first entered."""

    def __init__(self, started: float):
        """Start with the time since `started` (a performance counter), spent on start-up and config."""
        self._started = started
        self.seconds: dict[str, float] = {"start_up": time.perf_counter() - started}

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Add the time of a block to a section."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def rounded(self) -> dict[str, float]:
        """Seconds by section, with their total, to the millisecond."""
        total = time.perf_counter() - self._started
        return {name: round(seconds, 3) for name, seconds in {**self.seconds, "total": total}.items()}
