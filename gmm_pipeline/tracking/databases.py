"""PostgreSQL as a store, without a server between: its address, its passwords, its locks.

MLflow's own calls write the runs. Whoever writes a sweep or a record holds a lock of the database's, so that processes
on several machines leave no run twice, and only one creates the tables. The price: a connection more while they write.
A password is never part of the address, which records and logs contain: the database's own library finds it elsewhere.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from gmm_pipeline import extras
from gmm_pipeline.records.finding import COPIES

ADDRESS = re.compile(r"postgresql(\+psycopg2)?://[^?]*/[^/?]+(\?.*)?", re.DOTALL)
PASSWORD = re.compile(r"://[^@]*:.*@|[?&](ssl)?password=", re.DOTALL)
CONNECT_S, WAIT_S = 15, 600
"""How long to wait for a connection; and for others, who write run by run, 60 ms of CPU each."""
TABLES = "tables"
"""What is locked while the tables of a store are created."""


def is_database(uri: str) -> bool:
    """Whether an address is that of a PostgreSQL database."""
    return ADDRESS.fullmatch(uri) is not None


def has_password(uri: str) -> bool:
    """Whether the address of a database contains a password."""
    return PASSWORD.search(uri) is not None


def require_driver() -> None:
    """Refuse a database that could not be spoken to.

    Raises:
        InputError: the library for it is not installed.
    """
    extras.require("psycopg2", "psycopg2-binary", where="tracking.uri", purpose="PostgreSQL")


def with_driver(uri: str) -> str:
    """The address with the name of the library that speaks to it: versions of SQLAlchemy differ in which is theirs."""
    return re.sub("^postgresql:", "postgresql+psycopg2:", uri)


def artifact_root() -> str:
    """Where new experiments of a database keep the files of their runs, as `mlflow server` has it.

    That is MLFLOW_DEFAULT_ARTIFACT_ROOT, or else a folder where the command runs.
    """
    return os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT") or Path(COPIES).absolute().as_uri()


@contextlib.contextmanager
def locked(uri: str, what: str) -> Iterator[None]:
    """Hold a lock that ends with this block, or with this process.

    Args:
        uri: of a database.
        what: is locked; others may lock something else meanwhile.

    Raises:
        sqlalchemy.exc.OperationalError: there was no connection or no lock in time.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(with_driver(uri), poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": what})
        yield
