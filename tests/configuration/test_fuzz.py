"""Command lines, data files and records that no one would type or make: valid, or refused in one short message."""

import pytest

from benchmarks.fuzz import KINDS, fuzz

CASES = {"overrides": 150, "data files": 500, "records": 500, "pages and reruns": 12, "pages of sweeps": 12}
"""A few seconds of each; 20,000 by `benchmarks.fuzz`."""


@pytest.mark.parametrize("kind", KINDS)
def test_generated_input_is_valid_or_refused_in_words(kind):
    counts, failures = fuzz(KINDS[kind], CASES[kind], 0)
    assert not failures, "\n\n".join(f"{failure}\n  {line}" for failure, line in failures.items())
    assert counts.total() >= CASES[kind]
    assert min(counts["valid"], counts["refused"]) > CASES[kind] // 50
