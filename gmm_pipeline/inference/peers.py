"""Several processes that compute one fit of large data: each sees a part of the blocks, all get the sums of all.

Each runs the same program on the same data, and does by itself what is no pass over all data. In a pass, consecutive
blocks belong to one process; the sums of blocks are exchanged, and each process adds them in their order. So bits are
those of one process, and processes stay in step without exchanging anything else. The price: data are read and searched
by all of them, and 8 bytes travel for each block and number of a gradient.

JAX kills a process that waits for another in vain. So what waits is limited here, and fails in words before.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference import tracing

LATER = 60
"""Seconds after which JAX itself gives a process up, beyond those that are waited here."""


class _Group(NamedTuple):
    size: int
    place: int
    """Of this process; 0 for the first."""
    patience: float
    """Seconds to wait for the others."""


_joined: list[_Group] = []
_bound: list[bool] = []


def join(address: str | None, count: int | None, index: int | None, patience: int) -> None:
    """Wait for the other processes; before anything is computed.

    Args:
        address: host and port at which the first process is reached.
        count: number of processes.
        index: of this one; the first is 0. None, as for the others, where JAX knows it from the cluster.
        patience: seconds to wait, here and later.

    Raises:
        InputError: the cluster does not say what is None, or some process does not come.
    """
    _bound[:] = [True]
    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)

    def meet() -> None:
        jax.distributed.initialize(
            address,
            count,
            index,
            initialization_timeout=patience + LATER,
            heartbeat_timeout_seconds=patience + LATER,
            shutdown_timeout_seconds=patience + LATER,
        )

    expected = "processes that start together, and the address of the first, which all can reach"
    came = f"process {index} of {count} at {address}" if address else "no address, and no cluster that JAX knows"
    remedy = (
        "Start the same command once for each number, with execution.address=HOST:PORT, execution.n_processes "
        "and execution.process_id; on Slurm and with Open MPI, leave all three out."
    )
    try:
        _within(patience, meet)
    except TimeoutError:
        came = f"{came}, and not all of them within {patience} s"
        raise InputError("execution", expected=expected, came=came, remedy=remedy) from None
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError("execution", expected=expected, came=f"{came} ({said})", remedy=remedy) from error
    _joined[:] = [_Group(jax.process_count(), jax.process_index(), patience)]


def leave() -> None:
    """Let the others go; what follows is computed by this process alone."""
    if _joined:
        _with_the_others(jax.distributed.shutdown)
        _joined.clear()
        _bound.clear()


def are_bound() -> bool:
    """Whether this process must not end as others do: at its exit JAX would wait for the others once more."""
    return bool(_bound)


def have_met() -> bool:
    """Whether other processes compute the fit too."""
    return bool(_joined)


def count() -> int:
    """Processes that compute a fit together."""
    return _joined[0].size if _joined else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not _joined or _joined[0].place == 0


def agree(digest: str) -> None:
    """Make sure that all processes compute the same.

    Args:
        digest: of everything that decides the result, in hexadecimal digits.

    Raises:
        InputError: another process has another one.
        RunFailed: another process is gone.
    """
    everywhere = _gathered(np.frombuffer(bytes.fromhex(digest), np.uint8).astype(np.float64))
    if (everywhere != everywhere[0]).any():
        raise InputError(
            "execution",
            expected="the same command, data, code and libraries in all processes, on CPUs and devices of one kind",
            came="some that differ",
            remedy="Give all the same config, install the same lock file, and choose nodes of one kind.",
        )


def own_part(n: int) -> range:
    """The numbers of the calls that this process computes.

    Args:
        n: number of calls.
    """
    if not _joined:
        return range(n)
    group = _joined[0]
    each = -(-n // group.size)
    return range(min(group.place * each, n), min((group.place + 1) * each, n))


def of_all(own: Iterator[Float[np.ndarray, "b s"]], n: int, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """What all calls gave, in their order; each process has computed its part.

    Args:
        own: of `own_part`.
        n: number of calls.
        shape: of what a call gives.

    Raises:
        RunFailed: another process is gone.
    """
    if not _joined:
        yield from own
        return
    part = np.zeros((-(-n // _joined[0].size), *shape))
    for number, found in enumerate(own):
        part[number] = found
    yield from _gathered(part).reshape(-1, *shape)[:n]


def _gathered(part: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    from jax.experimental.multihost_utils import process_allgather

    def exchange() -> np.ndarray:
        with tracing.in_precision(np.float64):
            return process_allgather(part)

    return _with_the_others(exchange)


def _with_the_others(exchange: Callable[[], Any]) -> Any:
    patience = _joined[0].patience
    try:
        return _within(patience, exchange)
    except TimeoutError:
        why = f"nothing came from another one for {patience} s (execution.patience)"
    except (ValueError, RuntimeError) as error:  # of XLA's collectives
        why = " ".join(str(error).split())[:200]
    raise RunFailed(
        f"the processes of this fit have lost each other: {why}. Look at what the others say, and start all."
    )


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """The result of a function that may wait for ever.

    Raises:
        TimeoutError: it waits for longer; it still does when this is raised.
    """
    found: list[Any] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            found.append(function())
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="peers", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not found:
        raise TimeoutError
    return found[0]
