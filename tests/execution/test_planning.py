"""Which runs a sweep has, how they are numbered, and what makes two of them the same."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_composition import Sweep, hydra_state

from gmm_pipeline.errors import InputError
from gmm_pipeline.execution import plan_report, planning
from gmm_pipeline.execution.sweep import resume_command
from gmm_pipeline.records.artifacts import digests_of
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.sweeps import ManifestRun
from gmm_pipeline.stages import fit_checks

__all__ = ["hydra_state"]

SMALL = ("data.n_draws=60", "steps=5", "compilation_cache=null")


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return Sweep()


def planned(
    sweep: Sweep,
    jobs: Sequence[Sequence[str]],
    folder: Path = Path("nowhere"),
    known: Sequence[ManifestRun] = (),
    small: Sequence[str] = SMALL,
) -> planning.Plan:
    return planning.plan(
        [[*small, *job] for job in jobs],
        lambda words: sweep.composer.in_place(sweep.master, words),
        folder,
        known,
    )


def digest(sweep: Sweep, *overrides: str) -> str:
    (run,) = planned(sweep, [overrides]).jobs
    assert run.mistake is None, run.mistake
    return run.digest


ASKED = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 3)), min_size=1, max_size=5)


def words_of(asked: Sequence[tuple[int, int]]) -> list[list[str]]:
    return [[f"n_components={components}", f"seed={seed}"] for components, seed in asked]


@settings(max_examples=10)
@given(st.lists(ASKED, min_size=1, max_size=3))
def test_a_run_keeps_its_number_whatever_is_asked_for_and_in_whatever_order(sweep, commands):
    known: list[ManifestRun] = []
    numbers: dict[tuple[int, int], int] = {}
    for asked in commands:
        plan = planned(sweep, words_of(asked), known=known)
        for what, run in zip(asked, plan.jobs, strict=True):
            assert numbers.setdefault(what, run.number) == run.number
        assert len(plan.runs) == len(set(asked))
        known = planning.manifest_runs(plan, known)
        assert [run.number for run in known] == list(range(len(numbers)))
    assert sorted(numbers.values()) == list(range(len(numbers)))


def test_equal_jobs_are_one_run(sweep):
    plan = planned(sweep, [["seed=1"], ["seed=1"], ["seed=2"], ["optimizer=adam", "seed=1"]])
    assert [run.number for run in plan.jobs] == [0, 0, 1, 0]
    assert [run.number for run in plan.runs] == [0, 1]
    assert [run.number for group in plan.groups for run in group.runs] == [0, 1]


WITHOUT_EFFECT = [
    "figures=none",
    "figures.dpi=50",
    "animation=none",
    "tracking=none",
    "tracking.experiment=mine",
    "outputs_dir=elsewhere",
    "objective=aic",
    "sweep=another",
    "timings=false",
]
WITH_EFFECT = [
    "seed=1",
    "n_components=3",
    "steps=6",
    "history_every=2",
    "optimizer.learning_rate=0.2",
    "prior.concentration=3.0",
    "init.jitter=0.2",
    "data.seed=1",
    "data.locs=[0, 4]",
    "precision=float64",
    "standardize=false",
    "threefry_partitionable=false",
]


@pytest.mark.parametrize("override", WITHOUT_EFFECT)
def test_what_has_no_effect_on_the_fit_makes_no_other_run(sweep, override):
    assert digest(sweep, override) == digest(sweep)


def test_what_has_an_effect_makes_another_run(sweep):
    digests = [digest(sweep, override) for override in WITH_EFFECT]
    assert len({digest(sweep), *digests}) == len(WITH_EFFECT) + 1


def record(folder: Path, run: planning.Run, **changes: Any) -> None:
    write_json(folder / str(run.number) / "record.json", {"digest": run.result, "status": "finished", **changes})


def test_a_run_is_done_where_its_record_is_of_the_same_config_data_and_code(sweep, tmp_path):
    jobs = words_of([(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)])
    first = planned(sweep, jobs, tmp_path)
    assert not any(run.done for run in first.runs)
    finished, diverged, failed, changed, broken = first.runs
    record(tmp_path, finished)
    record(tmp_path, diverged, status="diverged")
    record(tmp_path, failed, status="failed")
    record(tmp_path, changed, digest=finished.result)
    (tmp_path / str(broken.number)).mkdir()
    (tmp_path / str(broken.number) / "record.json").write_text('{"status": ')
    again = planned(sweep, jobs, tmp_path)
    assert [run.done for run in again.runs] == [True, True, False, False, False]
    assert [run.number for group in again.groups for run in group.runs] == [2, 3, 4]


@pytest.mark.parametrize("file", ["parameters.json", "config.yaml"])
@pytest.mark.parametrize("damage", ["cut off", "of another run", "gone"])
def test_a_run_is_done_only_where_its_files_are_those_that_were_written(sweep, tmp_path, file, damage):
    (run,) = planned(sweep, words_of([(1, 0)]), tmp_path).jobs
    folder = tmp_path / str(run.number)
    folder.mkdir()
    for name in ("parameters.json", "config.yaml"):
        (folder / name).write_text(f"what {name} says")
    results, others = (digests_of(folder, [name]) for name in ("parameters.json", "config.yaml"))
    record(tmp_path, run, digests={"results": results}, files=others)
    assert planned(sweep, words_of([(1, 0)]), tmp_path).jobs[0].done
    match damage:
        case "cut off":
            os.truncate(folder / file, 4)
        case "of another run":
            (folder / file).write_text(f"what {file} SAYS")
        case "gone":
            (folder / file).unlink()
    assert not planned(sweep, words_of([(1, 0)]), tmp_path).jobs[0].done


def test_another_file_under_the_same_name_is_another_result_of_the_same_run(sweep, tmp_path):
    file = tmp_path / "x.csv"
    results = []
    for last, age in (("9", 0), ("8", 10), ("9", 20)):
        file.write_text(f"x\n1\n2\n5\n{last}\n")
        os.utime(file, (age, age))  # a clock may tick too slowly to tell them apart
        (run,) = planning.plan(
            [["compilation_cache=null", "steps=5", "data=file", f"data.path={file}"]],
            lambda words: sweep.composer.in_place(sweep.master, words),
            tmp_path,
            [],
        ).jobs
        results.append((run.digest, run.result))
    assert results[0] == results[2]
    assert results[0][0] == results[1][0]
    assert results[0][1] != results[1][1]


MISTAKES = {
    "n_components=0": "n_components: expected a whole number",
    "n_components=abc": "n_components: expected a whole number from 1 to 10000, or auto",
    "restarts=abc": "restarts: expected a whole number",
    "steps=-1": "steps: expected",
    "stepz=1": "stepz: expected",
    "optimizer=adm": "optimizer: expected one of",
    "optimizer._target_=no.such": "optimizer._target_: expected",
    "data=file": "data.n_draws: expected",
    "data.n_draws=1000000000000": "data.n_draws: expected what fits into the memory",
    "bootstrap=100000 data.n_draws=10000000": "bootstrap: expected what fits into the memory",
    "likelihood_ratio=100000 data.n_draws=1000000": "likelihood_ratio: expected what fits into the memory",
    "search.mixtures=10001": "search.mixtures: expected a whole number from 2 to 10000",
    "history_every=${nothing}": "",
}


def test_a_mistake_is_its_own_runs_alone(sweep, monkeypatch):
    monkeypatch.setattr(fit_checks, "memory", lambda: 16e9)
    jobs = [["seed=1"], *(mistake.split() for mistake in MISTAKES), ["seed=2"]]
    plan = planned(sweep, jobs)
    good, bad = [plan.jobs[0], plan.jobs[-1]], plan.jobs[1:-1]
    assert plan.mistaken == bad
    assert [run.number for run in plan.jobs] == list(range(len(jobs)))
    for run, says in zip(bad, MISTAKES.values(), strict=True):
        assert isinstance(run.mistake, InputError)
        assert str(run.mistake).startswith(says)
    (group,) = plan.groups
    assert group.runs == good
    assert len({run.digest for run in plan.jobs}) == len(jobs)


def test_what_differs_in_structure_or_settings_is_a_group_of_its_own_and_says_why(sweep):
    jobs = [[], ["optimizer=sgd"], ["precision=float64"], ["steps=6"], ["seed=1"], ["n_components=4"]]
    plan = planned(sweep, jobs)
    assert [[run.number for run in group.runs] for group in plan.groups] == [[0, 4, 5], [1], [2], [3]]
    why = plan_report.why_split(plan.groups)
    assert "steps: 5, 6" in why
    assert any(line.startswith("precision: ") and "float64" in line for line in why)
    assert any(line.startswith("optimizer._target_: ") and "adam" in line and "sgd" in line for line in why)
    settings = planned(sweep, [[], ["threefry_partitionable=false"]]).groups
    assert len(settings) == 2
    assert plan_report.why_split(settings) == ["threefry_partitionable: True, False"]
    rows = list(plan_report.rows(plan, workers=2))
    assert [row[1] for row in rows] == ["3", "1", "1", "1"]
    assert "3 data" not in rows[0][0]
    assert "64 observations and 5 components, 5 steps of adam" in rows[0][0]


def test_data_sets_are_kept_only_while_they_are_few(sweep):
    many = planning.DATASETS_KEPT + 2
    plan = planned(sweep, [[f"data.seed={seed}"] for seed in range(many)])
    assert [run.job is not None for run in plan.jobs] == [True] * planning.DATASETS_KEPT + [False] * 2
    assert len(plan.groups) == 1


def test_a_sweep_says_which_data_changed_since_it_was_fitted(sweep, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("x\n1\n2\n4\n")
    jobs = [["data=file", f"data.path={data}", "n_components=1", f"seed={seed}"] for seed in range(2)]
    before = planned(sweep, jobs, tmp_path, small=SMALL[1:])
    for run in before.runs:
        assert run.job is not None, run.mistake
        (tmp_path / str(run.number)).mkdir()
        digests = {"data": run.job.dataset.digest}
        write_json(tmp_path / str(run.number) / "record.json", {"digest": "other code", "digests": digests})
    known = planning.manifest_runs(before, [])
    assert not planned(sweep, jobs, tmp_path, known, SMALL[1:]).gaps
    data.write_text("x\n1\n2\n5.25\n")
    (said,) = planned(sweep, jobs, tmp_path, known, SMALL[1:]).gaps
    assert said.endswith("data.csv changed since 2 of the runs were fitted: they are fitted again")


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        (["--multirun", "seed=1,2"], "seed=1,2 sweep=study"),
        (["--multirun", "sweep=other", "seed=1,2"], "seed=1,2 sweep=study"),
        (["--multirun", "seed=1,2", "hydra.sweep.dir=there/study"], "seed=1,2 hydra.sweep.dir=there/study"),
    ],
)
def test_the_command_that_resumes_names_the_sweep_once(monkeypatch, given, ends):
    monkeypatch.setattr("sys.argv", ["program", *given])
    assert resume_command("study").endswith(f"fit --multirun {ends}")
