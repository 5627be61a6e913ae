"""A limit to how long a request to a server may take.

MLflow's own is one for each part of an answer that arrives: a server that sends a byte a second keeps a command for
hours. The price: requests are timed by an alarm, which only the main thread of a process has, and only where nobody
else uses it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from gmm_pipeline.tracking.store import ENVIRONMENT

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
PARTS = 3
"""How often MLFLOW_HTTP_REQUEST_TIMEOUT a request may take: one that is tried again has that time again."""
SLOWEST = 100_000
"""Bytes a second that a request is given to be sent."""
REFUSALS = (401, 403)
"""Statuses that are told with the answer: of one that is JSON, MLflow tells no status."""


class SlowServer(Exception):  # noqa: N818 - it names an outcome rather than a mistake
    """An answer is not there in time; as no error of a connection, it is not tried again."""


@contextlib.contextmanager
def requests_limited() -> Iterator[None]:
    """Let requests that are sent inside end in time.

    Raises:
        SlowServer: one did not, unless MLflow tells it in words of its own.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (hasattr(signal, "setitimer") and is_main and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL):
        yield
        return
    import requests

    name = "send"
    send = getattr(requests.Session, name)

    def limited(session: Any, request: Any, **settings: Any) -> Any:
        seconds = PARTS * float(os.environ.get(TIMEOUT, ENVIRONMENT[TIMEOUT]))
        with _ends_within(seconds + int(request.headers.get("Content-Length", 0)) / SLOWEST):
            answer = send(session, request, **settings)
        if answer.status_code in REFUSALS:
            raise requests.HTTPError(f"error code {answer.status_code}, {answer.reason}: {answer.text[:200]!r}")
        return answer

    setattr(requests.Session, name, limited)
    try:
        yield
    finally:
        setattr(requests.Session, name, send)


@contextlib.contextmanager
def _ends_within(seconds: float) -> Iterator[None]:
    def too_late(*_: object) -> None:
        raise SlowServer(f"no whole answer within {seconds:g} s")

    if signal.getsignal(signal.SIGALRM) != signal.SIG_DFL:  # a request that another one leads to
        yield
        return
    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
