"""Data files among the arguments of a command."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from gmm_pipeline.__main__ import overrides_first
from gmm_pipeline.configuration.positional import as_overrides
from gmm_pipeline.errors import InputError

NAMES = ["plain.csv", "two words.csv", "a,b.csv", "a=b.csv", 'it\'s "mine".csv', "été.csv", "-dash.csv", "--help.csv"]
NAMES += ["[1,2].csv", "${x}.csv", "~home.csv", "+plus.csv", "n_components.csv", "in a/folder=1.parquet", "back\\.npy"]


def path_in(words: list[str]) -> str:
    parsed = OverridesParser.create().parse_overrides(words)
    assert [one.key_or_group for one in parsed[:2]] == ["data", "data.path"]
    assert parsed[0].value() == "file"
    return str(parsed[1].value()).replace("\\${", "${")  # which OmegaConf undoes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["fit", "predict"])
def test_a_file_of_any_name_is_the_data(tmp_path, monkeypatch, name, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    words = as_overrides(command, overrides_first(["--cfg", "job", "outputs_dir=here", name]))
    assert str(Path(path_in(words[:2]))) == name
    assert words[2:] == ["outputs_dir=here", "--cfg", "job"]


def test_an_override_is_never_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep=x.csv").touch()
    words = ["sweep=x.csv", "~data.unit", "hydra.run.dir=x.csv", "-m"]
    assert as_overrides("fit", words) == words


def test_several_files_are_a_sweep():
    words = as_overrides("fit", ["a.csv", "b c.csv", "seed=1", "--multirun"])
    assert words == ["data=file", 'data.path=a.csv,"b c.csv"', "seed=1", "--multirun"]


def test_a_config_of_ones_own_for_data_stays():
    assert as_overrides("fit", ["data=mine", "a.csv"]) == ["data.path=a.csv", "data=mine"]


def test_a_folder_of_parts_is_a_file(tmp_path):
    assert as_overrides("fit", [str(tmp_path)]) == ["data=file", f"data.path={tmp_path}"]


@pytest.mark.parametrize("word", ["steps", "predict", "12"])
def test_a_word_that_is_nothing_is_refused(word):
    with pytest.raises(InputError, match=f"a data file, but got '{word}'"):
        as_overrides("fit", [word])
