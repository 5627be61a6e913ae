"""The launcher against Hydra's own: the same results to the bit, the same directories, files, callbacks and status.

One sweep is run by both, over fits small enough that many share a batch and large enough that each is one of its own;
then in another order with other neighbours, and some of its runs alone.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import conftest
import pytest
import yaml
from conftest import Fork

QUIET = ("figures=none", "animation=none", "tracking=none")
SMALL, LARGE = 300, 20_000
STEPS = 1_100  # with which the large ones fill a batch each
SWEEP = (
    *("n_components=2,3", "seed=4,5", "optimizer.learning_rate=0.1", f"data.n_draws={SMALL},{LARGE}"),
    *(f"steps={STEPS}", "sweep=both"),
)
OTHER_ORDER = (
    *(
        "sweep=other",
        f"steps={STEPS}",
        f"data.n_draws={LARGE},{SMALL}",
        "prior.concentration=1.5,2.0",
        "n_components=3,2",
    ),
    *("optimizer.learning_rate=0.1", "seed=4"),
)
ALONE = ("n_components=3", "seed=4", "optimizer.learning_rate=0.1", f"steps={STEPS}")
RESULTS = ("parameters.json", "metrics.json", "data.json", "config.yaml", "history.npz", "assignments.parquet")

WITNESS = """
import json
from pathlib import Path
from hydra.experimental.callback import Callback

class Witness(Callback):
    def _note(self, *words):
        with Path("seen.jsonl").open("a") as stream:
            stream.write(json.dumps(words) + "\\n")

    def on_multirun_start(self, config, **_):
        self._note("begins")

    def on_job_start(self, config, **_):
        self._note("starts", config.hydra.job.num, str(Path(config.hydra.runtime.output_dir).name))

    def on_job_end(self, config, job_return, **_):
        returned = job_return.return_value if job_return.status.name == "COMPLETED" else None
        self._note("ends", config.hydra.job.num, job_return.status.name, returned)

    def on_multirun_end(self, config, **_):
        self._note("is over")
"""


class Ended(NamedTuple):
    folder: Path
    process: conftest.Ended

    @property
    def records(self) -> dict[tuple[Any, ...], Path]:
        """Records by what was asked of them."""
        return {asked(file.parent): file.parent for file in sorted(self.folder.glob("outputs/*/*/**/record.json"))}

    @property
    def seen(self) -> list[list[Any]]:
        return [json.loads(line) for line in (self.folder / "seen.jsonl").read_text().splitlines()]


def asked(record: Path) -> tuple[Any, ...]:
    cfg = yaml.safe_load((record / "config.yaml").read_text())
    return (
        *(cfg["n_components"], cfg["seed"], cfg["optimizer"]["learning_rate"]),
        *(cfg["data"]["n_draws"], cfg["prior"]["concentration"]),
    )


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def run(fork: Fork, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A command in a folder of its own, once."""
    ran: dict[tuple[str, ...], Ended] = {}

    def once(*arguments: str) -> Ended:
        if arguments not in ran:
            folder = tmp_path_factory.mktemp("here")
            (folder / "witness.py").write_text(WITNESS)
            # Compiled as it is for users, whose bits are at stake.
            process = fork(folder, "fit", *QUIET, *arguments, XLA_FLAGS="")
            assert process.returncode == 0, process.stderr
            ran[arguments] = Ended(folder, process)
        return ran[arguments]

    return once


WATCHED = "+hydra.callbacks.witness._target_=witness.Witness"


@pytest.fixture
def batch(run: Run) -> Ended:
    return run("--multirun", *SWEEP, WATCHED)


@pytest.fixture
def basic(run: Run) -> Ended:
    return run("--multirun", *SWEEP, WATCHED, "hydra/launcher=basic")


@pytest.fixture
def other(run: Run) -> Ended:
    return run("--multirun", *OTHER_ORDER)


def same_bits(record: Path, other: Path, names: tuple[str, ...] = RESULTS) -> None:
    for name in names:
        assert (record / name).read_bytes() == (other / name).read_bytes(), f"{name} of {asked(record)}"


def test_a_sweep_gives_the_bits_of_hydras_own_launcher(batch, basic):
    assert len(batch.records) == 8
    assert batch.records.keys() == basic.records.keys()
    for what, record in batch.records.items():
        same_bits(record, basic.records[what])


def test_another_order_and_other_neighbours_change_no_bits(batch, other):
    assert len(other.records) == 8
    common = batch.records.keys() & other.records.keys()
    assert len(common) == 4
    for what in common:
        same_bits(batch.records[what], other.records[what], names=tuple(set(RESULTS) - {"config.yaml"}))
    by_number = [[int(ended.records[what].name) for what in sorted(common)] for ended in (batch, other)]
    assert by_number[0] != by_number[1]


@pytest.mark.parametrize("n_draws", [SMALL, LARGE])
def test_a_run_alone_has_the_same_bits(run: Run, batch, n_draws):
    alone = run(*ALONE, f"data.n_draws={n_draws}")
    ((what, record),) = alone.records.items()
    assert record.parent.name == "fit"
    same_bits(record, batch.records[what], names=tuple(set(RESULTS) - {"config.yaml"}))
    digests, widths = zip(*(about(one)[:2] for one in (record, batch.records[what])), strict=True)
    assert digests[0] == digests[1]
    assert widths[0] == widths[1]


def about(record: Path) -> tuple[str, dict[str, int], str]:
    said = json.loads((record / "record.json").read_text())
    return said["digest"], said["width"], said["status"]


def test_the_width_is_in_the_record(batch):
    widths = {what: about(record)[1] for what, record in batch.records.items()}
    for (n_components, _, _, n_draws, _), width in widths.items():
        expected = {"runs": 2, "components": n_components} if n_draws == LARGE else {"runs": 8, "components": 5}
        assert width == expected


def test_a_sweep_says_what_shares_a_program(batch):
    said = (batch.folder / "outputs/sweeps/both/sweep.log").read_text()
    assert "sweep both: 8 runs, 8 to fit in 3 programs" in said
    assert "program of 4 runs: up to 362 observations and 5 components, 1,100 steps of adam" in said
    assert said.count("program of 2 runs: up to 20,480 observations") == 2
    assert "differ in data (padded to): 362, 20480" in said
    assert "differ in starts at once: 8, 2" in said
    assert "8 to fit in 3 programs" in batch.process.stdout
    assert batch.process.stderr == ""


def hydras(record: Path, name: str, folder: Path) -> Any:
    """A file of Hydra's without the folder of the test and what names the launcher."""
    text = (record / ".hydra" / name).read_text().replace(str(folder), "HERE")
    content = yaml.safe_load(text)
    if name == "hydra.yaml":
        content = content["hydra"]
        del content["launcher"], content["runtime"]["choices"]["hydra/launcher"]
        content["overrides"]["hydra"] = [word for word in content["overrides"]["hydra"] if "launcher" not in word]
    return content


def test_directories_and_hydras_files_are_those_of_its_own_launcher(batch, basic):
    for number in range(8):
        ours, theirs = (ended.folder / "outputs/sweeps/both" / str(number) for ended in (batch, basic))
        assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
        assert (ours / "fit.log").stat().st_size > 0
        assert len((ours / "fit.log").read_text().splitlines()) == 2
        assert {path.name for path in (ours / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
        for name in ("config.yaml", "overrides.yaml", "hydra.yaml"):
            found = hydras(ours, name, batch.folder)
            assert found == hydras(theirs, name, basic.folder)
        said = yaml.safe_load((ours / ".hydra/hydra.yaml").read_text())["hydra"]
        assert (said["job"]["num"], said["job"]["id"]) == (number, str(number))
        assert said["runtime"]["output_dir"] == str(ours)
    top, theirs = ((ended.folder / "outputs/sweeps/both/multirun.yaml").read_text() for ended in (batch, basic))
    assert re.search(r"GmmBatchLauncher", top)
    assert yaml.safe_load(top)["hydra"]["sweep"] == yaml.safe_load(theirs)["hydra"]["sweep"]


def test_records_of_both_launchers_say_the_same(batch, basic):
    changing = {"started", "ended", "timings", "provenance", "sweep"}
    for what, record in batch.records.items():
        ours, theirs = (json.loads((one / "record.json").read_text()) for one in (record, basic.records[what]))
        assert ours.keys() - theirs.keys() == {"sweep"}
        assert {key: ours[key] for key in ours.keys() - changing} == {
            key: theirs[key] for key in theirs.keys() - changing
        }
        assert ours["sweep"]["number"] == int(record.name)


def test_callbacks_are_called_for_each_job_with_its_status(batch, basic):
    assert batch.seen[0] == ["begins"]
    assert batch.seen[-1] == ["is over"]
    starts, ends = ([seen[1:] for seen in batch.seen if seen[0] == kind] for kind in ("starts", "ends"))
    assert sorted(starts) == [[number, str(number)] for number in range(8)]
    assert [start[0] for start in starts] == [end[0] for end in ends]
    assert {status for _, status, _ in ends} == {"COMPLETED"}
    assert sorted(batch.seen[1:-1], key=repr) == sorted(basic.seen[1:-1], key=repr)
    for number, _, value in ends:
        metrics = json.loads((batch.folder / f"outputs/sweeps/both/{number}/metrics.json").read_text())
        assert value == metrics["bic"]
