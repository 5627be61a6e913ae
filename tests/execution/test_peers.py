"""One fit in two processes: the bits of one, one record, and an end in words where a process is missing."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import Quick, hurried

import gmm_pipeline
from gmm_pipeline.errors import InputError, RunFailed
from gmm_pipeline.inference import peers

# Of five blocks, for two processes.
FIT = (
    *("fit", "data.n_draws=150000", "prior=flat", "optimizer=squarem", "steps=20", "restarts=1"),
    *("search.rounds=1", "search.mixtures=8", "search.kept=2", "search.most_data=1000", "search.condensed_to=200"),
    *("tracking=none", "figures=none", "animation=none", "csv_rows=0"),
)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def of_two(place: int, port: int, patience: int) -> list[str]:
    address = f"execution.address=127.0.0.1:{port}"
    numbers = ["execution.n_processes=2", f"execution.process_id={place}", f"execution.patience={patience}"]
    return ["execution=distributed", address, *numbers]


def test_two_processes_give_the_bits_of_one_and_the_first_leaves_the_record(quick: Quick, tmp_path, compilation_cache):
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "gmm_pipeline", *FIT, *of_two(place, port, 100), f"hydra.run.dir=by_{place}"],
            cwd=tmp_path,
            env=hurried(compilation_cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in (0, 1)
    ]
    alone = quick(*FIT, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    said = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "record: by_0" in said[0][0] and "record" not in said[1][0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["alone", "by_0"]
    for name in ("parameters.json", "metrics.json"):
        assert (tmp_path / "by_0" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    with np.load(tmp_path / "by_0" / "history.npz") as ours, np.load(tmp_path / "alone" / "history.npz") as expected:
        for name in expected:
            np.testing.assert_array_equal(ours[name], expected[name])


def test_a_process_that_does_not_come_is_not_waited_for_for_ever(quick: Quick, tmp_path):
    ended = quick(*FIT, *of_two(0, free_port(), 1))
    assert ended.returncode == 2
    assert "got process 0 of 2 at 127.0.0.1:" in ended.stderr
    assert "and not all of them within 1 s. Start the same command once for each number" in ended.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def second_of_two() -> Iterator[None]:
    peers._joined[:] = [peers._Group(2, 1, 0.05)]
    yield
    peers._joined.clear()


def test_a_process_that_is_lost_or_silent_ends_the_others_in_words(second_of_two, monkeypatch):
    def gather_from_a_dead_one(_: np.ndarray) -> np.ndarray:
        raise ValueError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")

    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", gather_from_a_dead_one)
    with pytest.raises(RunFailed, match="have lost each other: UNKNOWN: Gloo AllGather failed"):
        list(peers.of_all(iter([np.ones((1, 3))]), 2, (1, 3)))
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", lambda _: threading.Event().wait(9))
    with pytest.raises(RunFailed, match=r"nothing came from another one for 0.05 s \(execution.patience\)"):
        peers.agree("ab")


def test_calls_are_shared_and_put_together_in_their_order(second_of_two, monkeypatch):
    assert [list(peers.own_part(n)) for n in (5, 2, 1)] == [[3, 4], [1], []]
    first = np.arange(9.0).reshape(3, 1, 3)
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", lambda part: np.stack([first, part]))
    own = iter([np.full((1, 3), 10.0), np.full((1, 3), 11.0)])
    assert [block[0, 0] for block in peers.of_all(own, 5, (1, 3))] == [0.0, 3.0, 6.0, 10.0, 11.0]


def test_processes_that_would_compute_different_things_are_refused(second_of_two, monkeypatch):
    other = np.array([1.0, 2.0])
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", lambda part: np.stack([other, part]))
    peers.agree("0102")
    with pytest.raises(InputError, match="execution: expected the same command, data, code and libraries"):
        peers.agree("0103")


def test_what_several_processes_cannot_share_is_refused(tmp_path, quick: Quick):
    with pytest.raises(InputError, match="threads, where a fit is not the command `fit`"):
        gmm_pipeline.fit([1.0, 2.0, 4.0, 8.0], n_components=1, execution="distributed")
    alone = [f"execution.address=127.0.0.1:{free_port()}", "execution.n_processes=1", "execution.process_id=0"]
    few = quick("fit", "data.n_draws=50", "tracking=none", "execution=distributed", *alone)
    assert few.returncode == 2
    assert "processes share passes over large data, but got distributed. See search.most_data." in few.stderr
    swept = quick("fit", "--multirun", "seed=0,1", "execution=distributed", "tracking=none", "data.n_draws=50")
    assert swept.returncode == 2
    assert "execution: expected threads, processes or ray for the runs of a sweep" in swept.stderr
