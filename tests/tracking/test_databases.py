"""Addresses of PostgreSQL databases; `test_tracking_sweeps.py` has a server."""

import importlib.util

import pytest

from gmm_pipeline.errors import InputError
from gmm_pipeline.tracking import databases, store


@pytest.mark.parametrize(
    "uri",
    [
        *("postgresql://ann:secret@host/runs", "postgresql://:secret@host/runs", "postgresql://a:se/cr@et@host/runs"),
        *("postgresql://host/runs?user=ann&password=secret", "postgresql+psycopg2://ann:secret@host:5432/runs"),
    ],
)
def test_a_password_is_refused_and_not_repeated(uri):
    with pytest.raises(InputError, match="PGPASSWORD") as caught:
        store.store_file(uri)
    assert "cr" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["postgresql://ann@host/runs", "postgresql://host:5432/runs", "postgresql://ann@/runs?host=/run/postgresql"]
)
def test_addresses_without_a_password_are_databases(uri, monkeypatch):
    monkeypatch.setattr(databases, "require_driver", lambda: None)
    assert store.store_file(uri) is None
    assert store.public(uri) == uri.replace("ann@", "…@")


def test_a_missing_driver_is_named_before_any_work(monkeypatch):
    search = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psycopg2" else search(name))
    with pytest.raises(InputError, match=r"tracking\.uri: .*psycopg2-binary.*pip install \"gmm_pipeline\[postgres\]\""):
        store.check_tracking({"uri": "postgresql://ann@host/runs"})


def test_files_of_runs_are_where_mlflows_variable_says(monkeypatch):
    monkeypatch.setattr(databases, "require_driver", lambda: None)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/runs")
    assert store.artifact_root_of("postgresql://ann@host/runs") == "s3://bucket/runs"
