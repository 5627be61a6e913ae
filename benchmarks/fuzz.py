"""What no one would type: generated inputs of every kind, each of which must be valid or refused in one message.

    python -m benchmarks.fuzz --cases 20000

Prints a row for each kind of input: cases tried, valid and refused, and the distinct failures, each with the shortest
input that leads to it. Exit code 1 if there is any. A kind is a strategy of hypothesis and a function that tries a
case.
"""

import argparse
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks import fuzz_overrides, fuzz_records, fuzz_tables

QUICK_READERS = ("predict", "predict", "log", "log", "load", "animate", "compare")
"""Those that take a few milliseconds each; named twice, they come more often."""


class Kind(NamedTuple):
    """A kind of input."""

    cases: st.SearchStrategy[Any]
    """Each has a `line`: the command that repeats it."""
    attempt: Callable[[Any], bool]
    """Whether a case is valid; False where it is refused in words. Whatever it raises is a failure."""


KINDS = {
    "overrides": Kind(fuzz_overrides.cases(), fuzz_overrides.attempt),
    "data files": Kind(fuzz_tables.tables(), fuzz_tables.attempt_table),
    "records": Kind(fuzz_records.cases(QUICK_READERS), fuzz_records.attempt_record),
    "pages and reruns": Kind(fuzz_records.cases(("report", "rerun")), fuzz_records.attempt_record),
    "pages of sweeps": Kind(fuzz_records.sweep_cases(), fuzz_records.attempt_record),
}


class Outcome(NamedTuple):
    """What became of the cases of a kind."""

    counts: Counter[str]
    failures: dict[str, str]
    """The shortest command line of each distinct failure."""


def fuzz(kind: Kind, n_cases: int, number: int) -> Outcome:
    """Try generated cases; a failure does not end the search for others.

    Args:
        kind: of input.
        n_cases: how many.
        number: seed of the cases.
    """
    outcome = Outcome(Counter(), {})

    def tried(case: Any) -> None:
        try:
            result = "valid" if kind.attempt(case) else "refused"
        except Exception as error:
            result, place = "failed", traceback.extract_tb(error.__traceback__)[-1]
            name = f"{type(error).__name__} at {place.filename}:{place.lineno}: {str(error)[:200]}"
            outcome.failures[name] = min(outcome.failures.get(name, case.line), case.line, key=len)
        outcome.counts[result] += 1

    run = settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate,),
        suppress_health_check=tuple(HealthCheck),  # pyright: ignore[reportArgumentType]
    )(given(kind.cases)(tried))
    seed(number)(run)()
    return outcome


def main() -> None:
    """Try the kinds, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cases", type=int, default=20_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failed = False
    warnings.simplefilter("error", RuntimeWarning)  # as in the tests
    print(f"{'kind':<18}{'cases':>8}{'valid':>8}{'refused':>9}{'failed':>8}{'distinct failures':>19}")
    for name in asked.kinds:
        counts, failures = fuzz(KINDS[name], asked.cases, asked.seed)
        numbers = counts["valid"], counts["refused"], counts["failed"]
        print(f"{name:<18}{counts.total():>8,}{numbers[0]:>8,}{numbers[1]:>9,}{numbers[2]:>8,}{len(failures):>19,}")
        for failure, line in failures.items():
            print(f"\n{failure}\n  {line}")
        failed |= bool(failures)
    sys.exit(failed)


if __name__ == "__main__":
    main()
