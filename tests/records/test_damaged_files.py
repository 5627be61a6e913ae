"""How `benchmarks.fuzz` damages files, and records whose files are whole, but of another record."""

import pytest

from benchmarks.fuzz_records import READERS, SWEEP, Case, Change, attempt_record
from benchmarks.fuzz_tables import Damage, damaged

NOTHING = Damage("insert", 0.0, b"")


OF_ANOTHER = (
    ("noise", "history.npz", "swap", 3, "log"),  # of two columns
    ("two_columns", "metrics.json", "swap", 0, "load"),  # of a run that diverged, without a loss
    ("two_columns", "parameters.json", "swap", 1, "load"),
)


@pytest.mark.parametrize(("record", "file", "kind", "value", "reader"), OF_ANOTHER)
def test_a_file_of_another_record_is_refused_without_its_digest_too(record, file, kind, value, reader):
    change = Change(file, kind, [0.0] * 4, value, NOTHING)
    assert not attempt_record(Case(record, [change], sealed=True, reader=reader))


def test_whole_records_are_read_by_all():
    unchanged = Change("record.json", "bytes", [0.0] * 4, 0, NOTHING)
    for reader in READERS:
        record = SWEEP if reader == "sweep" else "two_columns"
        assert attempt_record(Case(record, [unchanged], sealed=False, reader=reader))


def test_each_damage_changes_the_bytes():
    content = bytes(range(64))
    for kind in ("flip", "cut", "insert", "replace", "zeros", "repeat", "swap"):
        assert damaged(content, Damage(kind, 0.5, b"\xff")) != content
