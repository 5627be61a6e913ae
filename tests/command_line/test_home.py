"""`~` is the home folder in every path of every command, whoever writes it: a shell that leaves it, quotes, a YAML."""

import json
from pathlib import Path

import pytest
from conftest import Quick

from gmm_pipeline import home
from gmm_pipeline.configuration.schemas import SCHEMAS
from gmm_pipeline.errors import InputError

FIT = ("fit", "figures=none", "animation=none", "search=none", "steps=12", "restarts=2")


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("outputs_dir=~/x", 'outputs_dir="/home/ann/x"'),
        ('outputs_dir="~/x y"', 'outputs_dir="/home/ann/x y"'),
        ("+data.path=~", '+data.path="/home/ann"'),
        ("data.path=~/a.csv,b~.csv,'~/c.csv'", 'data.path="/home/ann/a.csv",b~.csv,"/home/ann/c.csv"'),
        ("data.path=choice(~/a.csv,b.csv)", 'data.path=choice("/home/ann/a.csv",b.csv)'),
        ("tracking.uri=sqlite:///~/m.db", 'tracking.uri="sqlite:////home/ann/m.db"'),
        ("hydra.run.dir=~/${now:%Y}", 'hydra.run.dir="/home/ann/${now:%Y}"'),
    ],
)
def test_words_have_the_home_folder(word, becomes, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert home.in_arguments([word]) == [becomes]


@pytest.mark.parametrize("flag", ["--config-dir", "--config-d", "-cd", "--config-path", "-cp"])
def test_flags_that_take_a_folder_have_the_home_folder(flag, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert home.in_arguments(["seed=1", f"{flag}=~/conf"]) == ["seed=1", f"{flag}=/home/ann/conf"]
    assert home.in_arguments([flag, "~/conf", "--multirun"]) == [flag, "/home/ann/conf", "--multirun"]


@pytest.mark.parametrize(
    "word", ["run=latest", "output=x~y.csv", "data.name=~/x", "~experiment", "--cfg=job", "sweep=~", "--config-name=~"]
)
def test_other_words_stay(word):
    assert home.in_arguments([word]) == [word]


def test_a_user_who_is_not_there_is_one_message():
    with pytest.raises(InputError, match=r"run: .* got ~nobody\.such\. .* \./~nobody\.such for a file of this name"):
        home.in_arguments(["run=~nobody.such/x"])


def test_every_key_that_is_a_path_is_known():
    """By what the schemas say of their keys."""
    said = {
        name
        for schema in SCHEMAS.values()
        for name, field in schema.__dataclass_fields__.items()
        if field.metadata.get("meaning", "").startswith(("folder", "file for", "YAML file"))
    }
    assert said == {key for key in home.PATHS if "." not in key}


def test_records_and_store_lie_together_whoever_wrote_the_path(quick: Quick, tmp_path):
    mine = tmp_path / "home"
    mine.mkdir()
    (mine / "waiting.csv").write_text("minutes\n" + "".join(f"{50 + 30 * (row % 2) + row % 7}\n" for row in range(60)))
    options = tmp_path / "conf" / "experiment"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text("# @package _global_\noutputs_dir: ~/out\ndata: {path: ~/waiting.csv}\n")
    (tmp_path / "conf").rename(mine / "conf")
    words = ("--config-dir=~/conf", "experiment=mine", "data=file")
    fit = quick(*FIT, *words, HOME=str(mine))
    assert fit.returncode == 0, fit.stderr
    (record,) = mine.glob("out/fit/*/record.json")
    assert json.loads((record.parent / "data.json").read_text())["source"] == str(mine / "waiting.csv")
    assert json.loads(record.read_text())["tracking"]["uri"] == f"sqlite:///{mine}/out/mlflow.db"
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert "1 already there" in quick("log", "outputs_dir=~/out", HOME=str(mine)).stdout
    assert quick("repair", 'outputs_dir="~/out"', HOME=str(mine)).stdout.startswith("nothing to repair")
    refused = quick(*FIT, "outputs_dir=~nobody.such/x")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("error: outputs_dir: expected the home folder of a user of this machine")
    assert not Path(tmp_path / "~nobody.such").exists()


def test_what_a_config_sweeps_over_and_the_environment_have_the_home_folder(quick: Quick, tmp_path):
    mine = tmp_path / "home"
    options = mine / "conf" / "experiment"
    options.mkdir(parents=True)
    (options / "both.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {data.path: '~/a.csv,~/b.csv', seed: '1,2'}}}\n"
    )
    for name in "ab":
        (mine / f"{name}.csv").write_text(f"{name}\n" + "".join(f"{row % 9 + row / 7}\n" for row in range(40)))
    words = ("--multirun", "-cd", "~/conf", "experiment=both", "data=file", "sweep=s", "search=none", "n_components=1")
    swept = quick(*FIT, *words, HOME=str(mine), JAX_COMPILATION_CACHE_DIR="~/compiled")
    assert swept.returncode == 0, swept.stderr
    records = [tmp_path / "outputs" / "sweeps" / "s" / str(number) for number in range(4)]
    read = [json.loads((record / "data.json").read_text())["source"] for record in records]
    assert read == [str(mine / f"{name}.csv") for name in "aabb"]
    assert any((mine / "compiled").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"home", "outputs"}
    refused = quick("predict", JAX_COMPILATION_CACHE_DIR="~nobody.such/x")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("error: JAX_COMPILATION_CACHE_DIR: expected the home folder of a user")
