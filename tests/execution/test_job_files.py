"""What Hydra leaves of a job, put together from parts: the values and the bytes of Hydra's own."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict
from test_composition import JOBS, Sweep, hydra_state

from gmm_pipeline.execution import job_files, quick_configs
from gmm_pipeline.execution.job_files import Reader
from gmm_pipeline.stages.running import resolved

__all__ = ["hydra_state"]

MORE_JOBS = {
    "words with what YAML quotes": ["seed=1", "data.name='a: b # c'", "+note='- x'", "+other='yes'"],
    "a word that is folded": ["data.name='" + 12 * "many words " + "'", "outputs_dir='" + 30 * "deep/" + "'"],
    "a text of several lines": ["data.name='one\n  two'"],
    "numbers as texts": ["data.name='007'", "data.unit='1e3'"],
}
HYDRAS_OWN = (
    *("hydra's settings", "hydra's additions", "hydra's option", "hydra as a mapping", "logs"),
    *("hydra's environment", "missing value"),
)
"""Jobs that `run_job` has to run, or that cannot be run."""
OURS = {name: words for name, words in {**JOBS, **MORE_JOBS}.items() if name not in HYDRAS_OWN}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    setup_globals()
    with pytest.MonkeyPatch.context() as here:
        here.chdir(tmp_path_factory.mktemp("here"))
        yield Sweep("steps=100", "sweep=mine")


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def say(cfg: object) -> float:
    logging.getLogger("gmm_pipeline.somewhere").info("it is done")
    logging.getLogger("gmm_pipeline.somewhere").debug("not to be seen")
    logging.getLogger("jax").info("not to be seen")
    return 4.5


def fail(cfg: object) -> float:
    logging.getLogger("gmm_pipeline.somewhere").error("it is wrong")
    raise ValueError("wrong")


def by_hydra(sweep: Sweep, words: list[str], task=say) -> tuple[DictConfig, Path, JobStatus, object]:
    cfg = sweep.by_hydra(words)
    with open_dict(cfg):
        cfg.hydra.job.id, cfg.hydra.job.num = "3", 3
    context = HydraContext(config_loader=sweep.hydra.config_loader, callbacks=Callbacks())
    ended = run_job(task, cfg, "hydra.sweep.dir", "hydra.sweep.subdir", context)
    return cfg, Path(cfg.hydra.runtime.output_dir), ended.status, ended._return_value


def texts(record: Path) -> dict[str, str]:
    """All files, with the time left out of the log."""
    found = {str(path.relative_to(record)): path.read_text() for path in record.rglob("*") if path.is_file()}
    return found | {"fit.log": "".join(line.split(" ", 2)[2] for line in found["fit.log"].splitlines(keepends=True))}


@pytest.mark.parametrize("words", OURS.values(), ids=OURS.keys())
def test_a_job_leaves_the_bytes_that_hydra_leaves(sweep, words):
    cfg, record, status, value = by_hydra(sweep, words)
    theirs = texts(record)
    shutil.rmtree(record)
    reader = Reader()
    for _ in range(2):  # the second from what the first has left
        with sweep.composer.in_place(sweep.master, words) as composed:
            asked = reader.read(composed)
        assert repr(asked.content) == repr(resolved(cfg))  # in the same order, and NaN is NaN
        assert asked.overrides == list(cfg.hydra.overrides.task)
        assert Path(asked.sweep_dir).absolute() == record.parent
        assert asked.pieces is not None
        ended = job_files.run(lambda: say(None), asked, asked.pieces, 3, record)
        assert (ended.status, ended.return_value) == (status, value)
        assert texts(record) == theirs
        shutil.rmtree(record)


def test_what_a_task_raises_is_the_failure_of_its_job(sweep):
    _, record, status, value = by_hydra(sweep, ["seed=1"], fail)
    theirs = texts(record)
    shutil.rmtree(record)
    with sweep.composer.in_place(sweep.master, ["seed=1"]) as composed:
        asked = Reader().read(composed)
    assert asked.pieces is not None
    ended = job_files.run(lambda: fail(None), asked, asked.pieces, 3, record)
    assert (ended.status, repr(ended._return_value)) == (status, repr(value))
    assert texts(record) == theirs
    assert logging.getLogger().handlers != []


def test_jobs_of_one_base_do_not_get_each_others_values(sweep):
    reader = Reader()
    decay_steps = []
    for words in (["seed=1", "steps=7"], ["optimizer.b1=0.5"], ["steps=800"], ["seed=1", "steps=7"], []):
        with sweep.composer.in_place(sweep.master, words) as composed:
            content = reader.read(composed).content
        assert content == resolved(sweep.by_hydra(words))
        decay_steps.append(content["schedule"]["decay_steps"])
    assert decay_steps == [7, 2000, 800, 7, 2000]


@pytest.mark.parametrize(
    "word",
    [
        "hydra.job.chdir=true",
        "hydra.output_subdir=null",
        "hydra.verbose=true",
        "hydra.sweep.subdir=${hydra.job.override_dirname}",
        "hydra/job_logging=default",
        "hydra.job_logging.root.level=DEBUG",
        "+hydra.job.env_set.X=1",
        "+hydra.callbacks.mine._target_=mine.Mine",
        "tracking.run_name=of ${hydra.job.name}",
    ],
)
def test_what_is_asked_of_hydra_besides_is_left_to_hydra(sweep, word):
    with sweep.composer.in_place(sweep.master, [word]) as composed:
        assert Reader().read(composed).pieces is None


@pytest.fixture
def of_another_version(monkeypatch):
    monkeypatch.setitem(quick_configs.VERSIONS, "omegaconf", "2.2.")
    quick_configs.is_known.cache_clear()
    yield
    quick_configs.is_known.cache_clear()


def test_with_another_version_hydra_composes_and_runs_the_same_jobs_itself(sweep, request, caplog):
    words = ["n_components=3", "optimizer=sgd", "seed=7"]
    with sweep.composer.in_place(sweep.master, words) as composed:
        known = Reader().read(composed)
    request.getfixturevalue("of_another_version")
    caplog.set_level(logging.INFO, quick_configs.__name__)
    with quick_configs.quickened(), sweep.composer.in_place(sweep.master, words) as composed:
        other = Reader().read(composed)
    assert other.content == known.content
    assert (other.overrides, other.sweep_dir, other.pieces) == (known.overrides, known.sweep_dir, None)
    (line,) = caplog.messages
    assert "omegaconf 2.3" in line
