"""Commands that are killed or interrupted at random moments leave whole results, and the same command goes on."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from conftest import Quick

from benchmarks import faults
from gmm_pipeline.errors import Interrupted, heed_interrupts, heeding_interrupts, interrupt, interrupts_deferred

KILLED = {"fit": 90, "sweep": 110, "log": 220, "predict": 3, "rerun": 6, "animate": 1, "report": 1, "repair": 2}
"""At each so many of its steps: 54 cases in about 15 CPU seconds, of which one for each command is gone on with."""
INTERRUPTED = {"fit": 2, "sweep": 2, "log": 1}
"""1,000 by `benchmarks.faults`."""


@pytest.fixture(scope="module")
def bench(server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> faults.Bench:
    return faults.Bench(tmp_path_factory.mktemp("faults"), faults.Server(server))


@pytest.mark.parametrize("kind", KILLED)
def test_what_a_command_leaves_that_is_killed_at_any_step_is_whole(bench: faults.Bench, kind):
    copies = list(bench.copies(kind, KILLED[kind]))
    wrong = [
        f"{one}\n  {case.line}"
        for number, (case, folder) in enumerate(copies)
        for one in bench.attempt(case, folder, resume=number == len(copies) // 2)[1]
    ]
    assert not wrong, "\n".join(wrong)
    assert len(copies) >= 3


@pytest.mark.parametrize("kind", INTERRUPTED)
def test_a_command_that_is_ended_at_any_moment_leaves_whole_results_and_goes_on(bench: faults.Bench, kind):
    tried = faults.attempt_all(bench, faults.some(bench, [kind], INTERRUPTED[kind], 0), 600.0)
    assert not tried.failures, "\n".join(f"{name}\n  {cases[0].line}" for name, cases in tried.failures.items())
    assert tried.counts[kind]["cases"] == INTERRUPTED[kind]


ENDED = """
import os, sys
from gmm_pipeline import __main__
from gmm_pipeline.stages import fit
from gmm_pipeline.tracking import runs

def ended(*_, **__):
    os.kill(os.getpid(), {number})

{place} = ended
sys.argv[:] = ["gmm_pipeline", *{words}]
__main__.main()
"""


FINALISED = """
import os, signal, sys, time
from gmm_pipeline import __main__
from gmm_pipeline.stages import fit

class Object:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def compute(*_, **__):
    Object()
    time.sleep(10)

fit.compute = compute
sys.argv[:] = ["gmm_pipeline", *{words}]
__main__.main()
"""


def test_a_signal_while_an_object_is_finalised_ends_a_fit_in_words(quick: Quick, tmp_path):
    ended = quick("-c", FINALISED.format(words=("fit", *faults.QUIET, *faults.DATA, "tracking=none")))
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGTERM, "", "terminated\n")
    assert list(tmp_path.glob("outputs/fit/*")) == []


@pytest.mark.parametrize(("number", "says"), [(signal.SIGTERM, "terminated\n"), (signal.SIGHUP, "hung up\n")])
def test_a_scheduler_that_ends_a_fit_finds_nothing_of_it(quick: Quick, tmp_path, number, says):
    words = ("fit", *faults.QUIET, *faults.DATA, "tracking=none")
    place = {signal.SIGTERM: "fit.compute", signal.SIGHUP: "__main__._import_jax"}[number]  # Hydra has made its folder
    ended = quick("-c", ENDED.format(number=int(number), place=place, words=words))
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "", says)
    assert list(tmp_path.glob("outputs/fit/*")) == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("fit", *faults.QUIET, *faults.DATA), "sys.modules['hydra.core.utils'].configure_log"),
        (("fit", *faults.SWEEP), "sys.modules['omegaconf'].OmegaConf.save"),
    ],
)
def test_an_interrupt_while_hydra_makes_a_folder_leaves_none(quick: Quick, tmp_path, words, place):
    """Of a run it is not known before Hydra has opened its log; a sweep may have many runs to compose."""
    ended = quick("-c", ENDED.format(number=int(signal.SIGTERM), place=place, words=(*words, "tracking=none")))
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "terminated\n")
    assert [*tmp_path.glob("outputs/*")] in ([tmp_path / "outputs" / "fit"], [tmp_path / "outputs" / "sweeps"])
    assert [*tmp_path.glob("outputs/*/*")] == []


LOST = """
import sys
from gmm_pipeline import __main__
from gmm_pipeline.errors import RunFailed
from gmm_pipeline.stages import fit

def lost(*_, **__):
    raise RunFailed("the processes have lost each other")

fit.compute = lost
sys.argv[:] = ["gmm_pipeline", *{words}]
__main__.main()
"""


def test_a_fit_that_fails_before_it_has_a_result_leaves_nothing(quick: Quick, tmp_path):
    ended = quick("-c", LOST.format(words=("fit", *faults.QUIET, *faults.DATA, "tracking=none")))
    assert (ended.returncode, ended.stderr) == (1, "error: the processes have lost each other\n")
    assert list(tmp_path.glob("outputs/fit/*")) == []


EARLY = """
import os, runpy, signal, sys
import gmm_pipeline

class Ends:
    def find_spec(self, name, *_):
        if name == "gmm_pipeline.program":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Ends())
del sys.modules["gmm_pipeline.__main__"], sys.modules["gmm_pipeline.program"], gmm_pipeline.program
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("gmm_pipeline", run_name="__main__")
"""


def test_an_interrupt_before_the_program_has_begun_ends_it_without_a_traceback(quick: Quick):
    ended = quick("-c", EARLY)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_an_answer_whose_tracking_is_interrupted_is_printed(quick: Quick, tmp_path):
    words = ("fit", *faults.QUIET, *faults.DATA)
    ended = quick("-c", ENDED.format(number=int(signal.SIGTERM), place="runs.log_record", words=words))
    assert (ended.returncode, ended.stderr) == (143, "terminated\n")
    (record,) = tmp_path.glob("outputs/fit/*/record.json")
    assert "± s.e." in ended.stdout
    place = record.parent.relative_to(tmp_path)
    assert f"\nrecord: {place}\nto upload it: python -m gmm_pipeline log run={place} " in ended.stdout


@contextlib.contextmanager
def as_in_a_command() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_stays_one_where_a_library_has_lost_it():
    """As an extension module that is imported does."""
    with as_in_a_command(), pytest.raises(Interrupted), heeding_interrupts():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        raise ImportError
    with pytest.raises(ImportError), heeding_interrupts():
        raise ImportError


def test_an_import_is_not_interrupted_but_ends_with_it():
    done = []
    with as_in_a_command(), pytest.raises(Interrupted), interrupts_deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("imported")
    assert done
    with interrupts_deferred():
        done.append("without")


def test_a_deferral_lasts_until_the_outer_one_or_what_heeds_it():
    done = []
    with as_in_a_command(), pytest.raises(Interrupted), interrupts_deferred():
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
        done.append("of an import")
        heed_interrupts()
        done.append("not to be reached")
    with as_in_a_command(), interrupts_deferred():
        heed_interrupts()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    assert done == ["of an import"]


CLOSED = """
import os, sys
from gmm_pipeline import __main__
from gmm_pipeline.stages import fit

def write(*_, **__):
    os.write({number}, b"x")

read, other = os.pipe()
os.close(read)
if {number} == 1:
    os.dup2(other, 1)
fit.compute = write
sys.argv[:] = ["gmm_pipeline", *{words}]
__main__.main()
"""


@pytest.mark.parametrize("number", ["1", "other"])
def test_a_pipe_that_nobody_reads_hides_a_fault_only_if_it_is_its_output(quick: Quick, number):
    words = ("fit", *faults.QUIET, *faults.DATA, "tracking=none")
    ended = quick("-c", CLOSED.format(number=number, words=words))
    assert ended.returncode == 1
    assert ("BrokenPipeError" in ended.stderr) == (number == "other")


LEFT = """
import os, sys
read, write = os.pipe()
if os.fork() == 0:
    os.dup2(write, 2)
    from gmm_pipeline.execution import executors
    opened = executors.opened({"kind": "processes", "workers": 1, "devices": "all", "address": None})
    opened.__enter__()
    os._exit(0)
os.close(write)
sys.stdout.write(os.fdopen(read).read())
"""


def test_semaphores_of_an_ended_process_are_given_back_without_a_word(quick: Quick):
    ended = quick("-c", LEFT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
