"""`config=FILE`: a whole resolved config in the place of what `conf/` composes."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Quick
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from gmm_pipeline.configuration import config_files
from gmm_pipeline.configuration.schemas import COMMANDS_OWN, OF_FILE
from gmm_pipeline.errors import InputError

QUIET = ("figures=none", "animation=none", "tracking=none")
ASKED = ("optimizer=sgd", "optimizer.momentum=0.5", "schedule=exponential", "prior=flat", "seed=7", "steps=40")
RESULTS = ("parameters.json", "metrics.json", "restarts.json", "history.npz", "assignments.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs")


@pytest.fixture
def record(quick: Quick, folder: Path) -> Path:
    """A fit for all tests, which is far from the defaults."""
    found = folder / "outputs" / "fit" / "one"
    if not found.exists():
        ended = quick("fit", *QUIET, *ASKED, "data.n_draws=120", f"hydra.run.dir={found}", cwd=folder)
        assert ended.returncode == 0, ended.stderr
    return found


@pytest.fixture
def of_file(record: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """What is composed with the record's config and overrides besides."""

    def composed(*overrides: str, command: str = "fit") -> dict[str, Any]:
        name = config_files.register(command, config_files.read(record / "config.yaml", command))
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            content: Any = OmegaConf.to_container(compose(name, list(overrides)), resolve=True, enum_to_str=True)
        return content

    yield composed
    with contextlib.suppress(KeyError):
        for command in config_files.TAKE_A_FILE:
            ConfigStore.instance().repo.pop(f"{command}_{OF_FILE}.yaml", None)


def written(record: Path) -> dict[str, Any]:
    return yaml.safe_load((record / "config.yaml").read_text())


def test_data_of_an_older_record_have_the_keys_that_there_are_now(tmp_path):
    file = tmp_path / "config.yaml"
    target = "gmm_pipeline.records.datasets.from_file"
    file.write_text(yaml.safe_dump({"data": {"_target_": target, "path": "x.csv", "column": "x", "unit": "mm"}}))
    taken = config_files.read(file, "fit")["data"]
    option = yaml.safe_load((ROOT / "conf/data/file.yaml").read_text())
    assert taken == {**option, "path": "x.csv", "column": "x", "unit": "mm"}


def test_groups_of_an_older_record_have_the_keys_that_there_are_now(tmp_path):
    file = tmp_path / "config.yaml"
    usual = {
        group: yaml.safe_load((ROOT / f"conf/{group}.yaml").read_text()) for group in ("init/various", "data/two_modes")
    }
    init, data = usual["init/various"], usual["data/two_modes"]
    older = {key: 0.25 for key in init if key in ("jitter", "narrowest")} | {"_target_": init["_target_"]}
    others = {"optimizer": {"_target_": "optax.adam", "learning_rate": 0.1}, "search": {"starts": {"jitter": 0.25}}}
    few = {key: data[key] for key in ("_target_", "seed")}
    file.write_text(yaml.safe_dump({"init": older, "data": few, **others}))
    taken = config_files.read(file, "fit")
    assert taken["init"] == init | older
    assert taken["search"]["starts"]["kmeans"] == init["kmeans"]
    assert taken["search"]["starts"]["jitter"] == 0.25
    # Whose defaults are its own, and which of several is meant?
    assert (taken["optimizer"], taken["data"]) == (others["optimizer"], few)


def without_own(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in COMMANDS_OWN}


def test_the_config_of_a_record_gives_its_bits_again(quick: Quick, folder, record):
    again = folder / "again"
    given = ("config=outputs/fit/one/config.yaml", f"hydra.run.dir={again}")
    assert quick("fit", *QUIET, *given, cwd=folder).returncode == 0
    for name in RESULTS:
        assert (again / name).read_bytes() == (record / name).read_bytes(), name
    assert without_own(written(again)) == without_own(written(record))
    assert json.loads((again / "record.json").read_text())["command"].endswith(f"{' '.join([*QUIET, *given])}")


def test_each_value_is_that_of_the_file(of_file, record):
    assert without_own(of_file()) == without_own(written(record))


def test_what_is_drawn_is_of_the_file_and_where_it_is_written_the_commands_own(of_file, record, tmp_path):
    content = written(record) | {"outputs_dir": "elsewhere", "sweep": "theirs", "config": "other.yaml"}
    (tmp_path / "moved.yaml").write_text(yaml.safe_dump(content))
    assert set(config_files.read(tmp_path / "moved.yaml", "fit")) == set(content) - set(COMMANDS_OWN)
    found = of_file()
    assert found["figures"]["formats"] == []
    assert of_file(command="animate")["animation"] | {"sweep": "best"} == written(record)["animation"]
    assert found["tracking"]["uri"] == "sqlite:///outputs/mlflow.db"


def test_an_override_wins(of_file, record):
    found = of_file("optimizer.momentum=0.25", "n_components=3", "selection.largest=4")
    expected = written(record)
    expected["optimizer"]["momentum"], expected["selection"]["largest"] = 0.25, 4
    assert without_own(found) == without_own(expected | {"n_components": 3})


def test_a_choice_of_a_group_leaves_nothing_of_the_files(of_file):
    found = of_file("optimizer=adam", "optimizer.b1=0.8", "prior=dirichlet")
    assert found["optimizer"] == {
        "_target_": "optax.adam",
        "learning_rate": 0.1,
        "b1": 0.8,
        "b2": 0.999,
        "eps": 1e-8,
    }
    assert found["prior"] == {"_target_": "gmm_pipeline.model.priors.dirichlet", "concentration": 2.0}
    assert found["schedule"]["_target_"] == "gmm_pipeline.inference.optimizers.exponential"


def test_an_option_brings_what_it_needs_of_other_groups(of_file):
    assert of_file("optimizer=em")["schedule"] == {"_target_": "optax.constant_schedule", "value": 1.0}


def test_an_experiment_wins_over_the_file(of_file, record):
    found = of_file("experiment=notebook")
    assert found["optimizer"]["_target_"] == "optax.adam"
    assert found["optimizer"]["learning_rate"] == 0.5
    assert found["data"]["n_draws"] == 6000  # the experiment chooses its data
    assert found["restarts"] == 1
    assert found["level"] == written(record)["level"]


def test_what_is_derived_goes_on_being_derived(of_file, record):
    assert written(record)["schedule"]["transition_steps"] == 40
    found = of_file("steps=1000")
    assert found["schedule"]["transition_steps"] == 1000
    assert found["history_every"] == 5


def test_what_differs_from_the_rule_stays_as_it_is(of_file, record, tmp_path):
    content = written(record)
    content["schedule"]["transition_steps"] = 33
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    name = config_files.register("fit", config_files.read(tmp_path / "own.yaml", "fit"))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert compose(name, ["steps=1000"]).schedule.transition_steps == 33


def test_simulate_takes_what_it_knows(of_file, record, quick: Quick, folder):
    found = of_file("output=draws.csv", command="simulate")
    assert found["data"] == written(record)["data"]
    ended = quick("simulate", "config=outputs/fit/one/config.yaml", "output=d.csv", "figures=none", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    assert (
        json.loads((folder / "d_truth.json").read_text())["digest"]
        == json.loads((record / "data.json").read_text())["digest"]
    )


def test_the_runs_of_a_sweep_share_the_file(quick: Quick, folder, record):
    words = ("--multirun", "config=outputs/fit/one/config.yaml", "seed=7,8", "optimizer.momentum=0.5,0.6", "sweep=s")
    ended = quick("fit", *QUIET, *words, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    swept = folder / "outputs" / "sweeps" / "s"
    for name in RESULTS:
        assert (swept / "0" / name).read_bytes() == (record / name).read_bytes(), name
    assert written(swept / "3")["optimizer"]["momentum"] == 0.6
    planned = quick("plan", *words, cwd=folder)
    assert "4 runs, 0 programs, 4 done before" in planned.stdout


def refused(quick: Quick, folder: Path, *arguments: str) -> str:
    ended = quick("fit", *QUIET, *arguments, cwd=folder)
    assert ended.returncode == 2, ended.stdout
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    return ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("config=outputs/fit/one/confg.yaml", "does not exist. Did you mean outputs/fit/one/config.yaml?"),
        ("config=a.yaml,b.yaml", "error: config: expected one YAML file, but got a.yaml,b.yaml"),
        ("config=outputs/fit/one/config.yaml steps=a", "error: steps: expected a whole number, but got 'a'"),
        ("config=outputs/fit/one/config.yaml optimizer.momentm=1", "Did you mean optimizer.momentum?"),
        ("config=outputs/fit/one/config.yaml optimizer=sdg", "radam, rmsprop, sgd, squarem, yogi, but got sdg"),
        ("config=bad.yaml", "error: bad.yaml: steps: expected a whole number, but got 'many'"),
        (
            "config=target.yaml",
            "error: prior._target_: expected a function that is defined in gmm_pipeline.model.priors",
        ),
        ("config=hyper.yaml", "error: optimizer.momentm: expected a hyperparameter of sgd"),
    ],
)
def test_a_mistake_is_said_in_one_line(quick: Quick, folder, record, arguments, says):
    content = written(record)
    wrong = {
        "bad": {"steps": "many"},
        "target": {"prior": {"_target_": "no.such"}},
        "hyper": {"optimizer": {"_target_": "optax.sgd", "momentm": 1}},
    }
    for name, change in wrong.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content | change))
    assert says in refused(quick, folder, *arguments.split())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stepz": 5}, "stepz: expected a key of fit, but got an unknown name. Did you mean steps"),
        ({"precision": "half"}, "precision: expected one of auto, float32, float64, but got 'half'"),
        ({"selection": {"smalest": 1}}, "selection.smalest: expected one of smallest, largest, scales"),
        ({"search": {"moves": {"foo": 1}}}, "search.moves.foo: expected one of swap, split, nest, join, fresh"),
        ({"search": {"moves": {"spilt": 1}}}, "search.moves.spilt: .* Did you mean search.moves.split"),
        ({"search": {"moves.foo": 1}}, "search.moves.foo: expected one of points, "),
        ({"search": {5: 1}}, "search.5: expected one of points, "),
        (
            {"search": {"moves": [1]}},
            r"search.moves: expected keys and values: swap, .*, but got \[1\]. Leave search.mo",
        ),
        ({"search": {"starts": 3}}, "search.starts: expected keys and values: quantile, kmeans, jitter, .*, but got 3"),
        ({"search": [1, 2]}, r"search: expected keys and values: points, .*, but got \[1, 2\]"),
        ({"search": "none"}, "search: expected keys and values: points, .*, but got 'none'"),
        ({"figures": None}, "figures: expected keys and values: formats, .*, but got null"),
        ({"selection": {"scales": {"a": 1}}}, r"selection.scales: expected a list, as in \[1,2\], but got {'a': 1}"),
        ({"figures": {"size": 3}}, r"figures.size: expected a list, as in \[1,2\], but got 3"),
        ({"steps": None}, "steps: expected a whole number, but got 'None'"),
        ({"steps": {"a": 1}}, "steps: expected a whole number, but got"),
        ({"seed": "${steps}"}, r"seed: expected a value, but got \${steps}. Give a resolved config"),
        ({"data": {"path": "???", "_target_": "x"}}, r"data.path: expected a value, but got \?\?\?"),
        ({"optimizer": {"b1": 1}}, "optimizer: expected keys and values, with a _target_ among them"),
        ({"prior": None}, "prior: expected keys and values, with a _target_ among them, but got None"),
    ],
    ids=str,
)
def test_values_that_no_command_has(record, tmp_path, change, says):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(written(record) | change))
    with pytest.raises(InputError, match=f"bad.yaml: {says}"):
        config_files.read(tmp_path / "bad.yaml", "fit")


@pytest.mark.parametrize(
    "text",
    ["", "- 1\n", "just words\n", "a: [\n", "steps: !!python/object/apply:os.mkdir [made]\n", "a: &a [*a]\n", "\x00"],
)
def test_a_file_that_is_no_mapping(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(text)
    with pytest.raises(InputError, match=r"bad.yaml: (expected a YAML mapping|just words: expected a key of fit)"):
        config_files.read(Path("bad.yaml"), "simulate")
    assert not Path("made").exists()


@pytest.mark.parametrize("word", ["config=", "config=5", "config=[a.yaml]", "++config=a,b"])
def test_a_word_that_names_no_one_file(word):
    with pytest.raises(InputError, match="config: expected one YAML file"):
        config_files.file_in(["steps=5", word])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "search: {moves: {foo: 1}}",
            "experiment/mine: search.moves.foo: expected one of swap, split, nest, join, fresh",
        ),
        ("search: {moves: [1]}", "experiment/mine: search.moves: expected keys and values, but got '[1]'"),
        ("search: 3", "experiment/mine: search: expected keys and values, but got '3'"),
        ("prior: [1]", "experiment/mine: its keys: expected a mapping or a list, whichever belongs there"),
        ("steps: null", "experiment/mine: steps: expected a whole number, but got 'None'"),
        ("stepz: 5", "experiment/mine: stepz: expected one of config, data, "),
        ("steps: {", "mine.yaml: expected keys and values in YAML, but got "),
        ("5", "a config: expected a YAML file with keys and values, but got one with a number alone"),
    ],
)
def test_a_mistake_in_a_yaml_of_the_users_is_said_in_one_line(quick: Quick, folder, record, text, says):
    option = folder / "mine" / "experiment" / "mine.yaml"
    option.parent.mkdir(parents=True, exist_ok=True)
    option.write_text(f"# @package _global_\n{text}\n")
    assert says in refused(quick, folder, "--config-dir", "mine", "experiment=mine")
