"""Command lines that no one would type are valid or refused in one short message; 20,000 by `benchmarks.fuzz`."""

import pytest

from benchmarks.fuzz import KINDS, fuzz

CASES = 600


@pytest.mark.parametrize("kind", KINDS)
def test_generated_input_is_valid_or_refused_in_words(kind):
    counts, failures = fuzz(KINDS[kind], CASES, 0)
    assert not failures, "\n\n".join(f"{failure}\n  {line}" for failure, line in failures.items())
    assert counts.total() >= CASES
    assert min(counts["valid"], counts["refused"]) > CASES // 50
