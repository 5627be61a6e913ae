"""Damaged data files and records of every kind: each is read or refused in one message, whoever reads it."""

import pytest
from hypothesis import given, settings

from benchmarks.fuzz_records import READERS, Case, Change, attempt_record
from benchmarks.fuzz_records import cases as damaged_records
from benchmarks.fuzz_tables import Damage, Table, attempt_table, damaged, tables

CHEAP = ("predict", "predict", "log", "log", "load", "animate", "compare")
FEW, MANY = settings(max_examples=25), settings(max_examples=400)
NOTHING = Damage("insert", 0.0, b"")


def test_a_damaged_data_file_is_read_or_refused():
    outcomes = set()

    @MANY
    @given(tables())
    def tried(table: Table) -> None:
        outcomes.add(attempt_table(table))

    tried()
    assert outcomes == {True, False}


@pytest.mark.parametrize(("readers", "number"), [(CHEAP, MANY), (("report",), FEW)], ids=["cheap", "report"])
def test_a_damaged_record_is_read_or_refused(readers, number):
    outcomes = set()

    @number
    @given(damaged_records(readers))
    def tried(case: Case) -> None:
        outcomes.add(attempt_record(case))

    tried()
    assert outcomes == {True, False}


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
        assert attempt_record(Case("two_columns", [unchanged], sealed=False, reader=reader))


def test_each_damage_changes_the_bytes():
    content = bytes(range(64))
    for kind in ("flip", "cut", "insert", "replace", "zeros", "repeat", "swap"):
        assert damaged(content, Damage(kind, 0.5, b"\xff")) != content
