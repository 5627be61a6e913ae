"""What the program says of itself: usage, `--help`, `--cfg`, `--info`, and what a shell is offered to complete."""

import importlib.metadata
import os
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Quick
from hydra._internal.utils import get_args_parser
from hydra.errors import MissingConfigException

from gmm_pipeline.__main__ import COMMANDS, FLAGS_WITH_ARGUMENT, INFO_ARGUMENTS, main, overrides_first
from gmm_pipeline.configuration import advice, command_help, completion, config
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.configuration.schemas import SCHEMAS

CONF = ROOT / "conf"


# Plans what `fit` would do, and is asked with its keys.
CONFIG_OF = {**{command: command for command in COMMANDS}, "plan": "fit"}


def groups(command: str) -> list[str]:
    primary = yaml.safe_load((CONF / f"{CONFIG_OF[command]}.yaml").read_text())
    named = [name for entry in primary["defaults"] if isinstance(entry, dict) for name in entry]
    return [name for name in named if not name.startswith("override ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_key_and_option(quick: Quick, tmp_path, command):
    finished = quick(command, "--help")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    words = " ".join(finished.stdout.split())  # long meanings are wrapped
    for key in fields(SCHEMAS[CONFIG_OF[command]]):
        assert any(line.startswith(f"  {key.name:<24}") for line in lines), key.name
        assert f"{key.name} {key.metadata['meaning']}" in words
    for group in groups(command):
        assert f"  {group}" in lines
        for option in (CONF / group).glob("*.yaml"):
            comments = [line[2:] for line in option.read_text().splitlines() if line.startswith("# ")]
            said = next(comment for comment in comments if not comment.startswith("@package"))
            assert f"{option.stem} {said}" in words
    for flag in ("--multirun", "--cfg job", "--info", "--config-dir"):
        assert flag in finished.stdout
    assert max(len(line) for line in lines) <= 120
    assert not any(tmp_path.iterdir())


def test_every_group_of_fit_is_a_folder():
    assert groups("fit") == [
        "data",
        "prior",
        "init",
        "search",
        "schedule",
        "optimizer",
        "execution",
        "figures",
        "animation",
        "tracking",
        "experiment",
    ]
    assert {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"} == set(groups("fit"))


def test_help_explains_the_keys_of_the_options_it_is_asked_with(quick: Quick, tmp_path):
    (tmp_path / "mine" / "prior").mkdir(parents=True)
    ridge = "# Pulls locs together.\n_target_: my.ridge\nstrength: 2.0 # of the pull\nplain: [a, '${steps}']\n"
    (tmp_path / "mine" / "prior" / "ridge.yaml").write_text(ridge)
    finished = quick("fit", "data=file", "figures=none", "--config-dir", "mine", "prior=ridge", "--help")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    words = " ".join(finished.stdout.split())
    assert "data.missing = error missing values; error: refuse them" in words
    assert "figures.formats = [] file formats, any of png, svg and pdf; [] draws nothing" in words
    assert "figures.dpi = 150 dots per inch of the PNG" in words
    assert "optimizer.b1 = 0.9" in words
    assert "ridge Pulls locs together." in words
    assert "prior.strength = 2.0 of the pull" in words
    assert "  prior.plain = [a, '${steps}']" in lines
    assert "data.n_draws" not in words.partition("Keys of the chosen options")[2]
    assert "._target_ =" not in words
    assert max(len(line) for line in lines) <= 120


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_no_command_lists_the_commands(quick: Quick, arguments):
    finished = quick(*arguments)
    assert finished.returncode == 0
    for command, meaning in COMMANDS.items():
        assert f"  {command:<10}{meaning}" in finished.stdout.splitlines()


@pytest.mark.parametrize(("typed", "meant"), [("fitt", "fit"), ("simulte", "simulate"), ("Animate", "animate")])
def test_unknown_command_names_the_nearest(quick: Quick, typed, meant):
    finished = quick(typed, "steps=3")
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.startswith(f"error: '{typed}' is not a command. Did you mean {meant}")
    assert all(f"  {command} " in finished.stderr for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("steps=100 fit", "the command comes first: gmm-pipeline fit steps=100\n"),
        (
            "--multirun simulate 'data.name=a b'",
            "the command comes first: gmm-pipeline simulate --multirun 'data.name=a b'\n",
        ),
        ("steps=100", "there is no command. To fit: gmm-pipeline fit steps=100\n"),
        ("fti", "'fti' is not a command. Did you mean fit?\n\nusage: gmm-pipeline COMMAND"),
    ],
)
def test_a_command_that_is_not_the_first_word_is_put_there(monkeypatch, capsys, words, says):
    monkeypatch.setattr(sys, "argv", ["gmm-pipeline", *shlex.split(words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {says}")


@pytest.mark.parametrize("words", [["--version"], ["fit", "--version"]])
def test_the_version_is_that_of_the_installed_program(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["gmm-pipeline", *words])
    main()
    assert capsys.readouterr().out == f"gmm_pipeline {importlib.metadata.version('gmm-pipeline')}\n"


def test_a_missing_plug_in_names_the_extra_that_brings_it():
    error = MissingConfigException("no such config", missing_cfg_file="hydra/sweeper/optuna", options=["basic"])
    mistake = as_mistake(error, "fit")
    assert mistake is not None
    assert mistake.remedy == 'Install it: pip install "gmm_pipeline[optuna]".'
    assert advice.to_install("hydra/sweeper", "no_such") == ""


def test_cfg_job_prints_the_config_and_runs_nothing(quick: Quick, tmp_path):
    finished = quick("fit", "--cfg", "job", "--resolve", "optimizer=sgd", "steps=1234", "optimizer.momentum=0.5")
    assert finished.returncode == 0, finished.stderr
    printed = yaml.safe_load(finished.stdout)
    assert set(printed) == {key.name for key in fields(SCHEMAS["fit"])}
    assert printed["steps"] == 1234
    assert printed["history_every"] == 7
    assert printed["schedule"]["decay_steps"] == 1234
    assert printed["optimizer"]["_target_"] == "optax.sgd"
    assert printed["optimizer"]["momentum"] == 0.5
    assert not any(tmp_path.iterdir())


def test_info_says_where_the_config_comes_from(quick: Quick, tmp_path):
    finished = quick("fit", "optimizer=lion", "--info")
    assert finished.returncode == 0, finished.stderr
    assert "optimizer/lion" in finished.stdout
    assert "file://" in finished.stdout
    assert not any(tmp_path.iterdir())


def test_hydras_flags_that_take_a_word_are_known():
    takes, may_take = {}, []
    for action in get_args_parser()._actions:
        if action.nargs == "?":
            may_take += [*action.option_strings, *(action.choices or [])]
        elif action.nargs is None and action.option_strings:
            takes[action.option_strings[0]] = "".join(action.option_strings[1:])
    assert takes == FLAGS_WITH_ARGUMENT
    assert may_take == ["--info", "-i", *INFO_ARGUMENTS]


@pytest.mark.parametrize(
    ("line", "ordered"),
    [
        ("a=1 --config-dir mine b=2", "a=1 b=2 --config-dir mine"),
        ("a=1 --multirun b=1,2 -cd mine ~c", "a=1 b=1,2 ~c --multirun -cd mine"),
        ("a=1 --cfg job +b=2 --resolve ++c=3", "a=1 +b=2 ++c=3 --cfg job --resolve"),
        ("--config-dir=mine a=1 --conf mine b=2", "a=1 b=2 --config-dir=mine --conf mine"),
        ("--info a=1", "a=1 --info"),
        ("--info config a=1", "a=1 --info config"),
        ("a=1 -i defaults-tree b=2", "a=1 b=2 -i defaults-tree"),
        ("-m -- a=1", "a=1 -m --"),
        ("a=1 -c", "a=1 -c"),
    ],
)
def test_overrides_may_stand_anywhere(line, ordered):
    assert overrides_first(line.split()) == ordered.split()


def test_overrides_on_both_sides_of_a_flag_compose(quick: Quick):
    finished = quick("fit", "steps=50", "--cfg", "job", "optimizer=adamw", "data.scales=[1, 2]")
    assert finished.returncode == 0, finished.stderr
    printed = yaml.safe_load(finished.stdout)
    assert printed["steps"] == 50
    assert printed["optimizer"]["_target_"] == "optax.adamw"
    assert printed["data"]["scales"] == [1, 2]


def complete(line: str, folder: Path) -> list[str]:
    finished = subprocess.run(
        [Path(sys.executable).with_name("gmm-pipeline"), "-sc", "query=bash"],
        cwd=folder,
        env={**os.environ, "COMP_LINE": line},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stderr == ""
    return finished.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gmm-pipeline ", list(COMMANDS)),
        ("gmm-pipeline fi", ["fit"]),
        ("gmm-pipeline fit st", ["standardize=", "steps="]),
        ("gmm-pipeline fit prior=d", ["prior=dirichlet", "prior=dirichlet_process"]),
        ("gmm-pipeline fit steps=10 optimizer=adama", ["optimizer=adamax"]),
        ("gmm-pipeline simulate data=f", ["data=file", "data=four_modes"]),
        ("gmm-pipeline animate animation.f", ["animation.formats.", "animation.fps=", "animation.frames="]),
    ],
)
def test_completion(tmp_path, line, offered):
    assert sorted(complete(line, tmp_path)) == sorted(offered)
    assert not any(tmp_path.iterdir())


@pytest.fixture
def data_files(tmp_path, monkeypatch) -> None:
    (tmp_path / "wait").mkdir()
    for name in ("waiting.csv", "wait/more.csv", ".waiting"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gmm-pipeline fit --mul", ["--multirun"]),
        ("gmm-pipeline fit steps=3 --c", ["--cfg", "--config-dir"]),
        ("gmm-pipeline --ver", ["--version"]),
        ("gmm-pipeline fit --cfg ", ["job", "hydra", "all"]),
        ("gmm-pipeline fit data=file data.path=wai", ["data.path=wait/", "data.path=waiting.csv"]),
        ("gmm-pipeline fit data=file data.path=wait/", ["data.path=wait/more.csv"]),
        ("gmm-pipeline fit +config=", ["+config=wait/", "+config=waiting.csv"]),
        ("gmm-pipeline predict run=", ["run=wait/", "run=waiting.csv", "run=latest"]),
        ("gmm-pipeline predict run=l", ["run=latest"]),
        ("gmm-pipeline fit --config-dir wa", ["wait/", "waiting.csv"]),
        ("gmm-pipeline fit data.path=nowhere/x", []),
        ("gmm-pipeline fit steps=1", None),
        ("gmm-pipeline fit optimizer=a", None),
        ("gmm-pipeline fit ", None),
    ],
)
@pytest.mark.usefixtures("data_files")
def test_flags_and_paths_are_completed(line, offered):
    assert completion.offers(line, COMMANDS) == offered


def test_completion_knows_every_optimizer(tmp_path):
    options = {f"optimizer={path.stem}" for path in (CONF / "optimizer").glob("ad*.yaml")}
    assert set(complete("gmm-pipeline fit optimizer=ad", tmp_path)) == options


def test_completion_is_installed_by_a_script(tmp_path):
    script = subprocess.run(
        [Path(sys.executable).with_name("gmm-pipeline"), "-sc", "install=bash"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "complete -o nospace" in script
    assert "gmm-pipeline" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "own"),
    [([], []), (["steps=3"], []), (["--config-dir", "mine"], ["mine"]), (["--config-dir=mine", "steps=3"], ["mine"])],
)
def test_options_are_looked_for_where_the_words_say(words, own):
    assert command_help.option_folders(words) == [config.config_directory(), *map(Path, own)]


def test_help_and_mistakes_import_nothing_that_computes(tmp_path):
    asks = "import sys; from gmm_pipeline.__main__ import main; sys.argv = ['gmm-pipeline', *sys.argv[1:]]\n"
    asks += "try: main()\nexcept SystemExit: pass\n"
    asks += "print('heavy:', *sorted({'jax', 'numpy', 'rich', 'pyarrow', 'matplotlib', 'mlflow'} & {*sys.modules}))"
    for words in (["fit", "--help"], ["fit", "stepz=3"]):
        finished = subprocess.run([sys.executable, "-c", asks, *words], cwd=tmp_path, capture_output=True, text=True)
        assert finished.stdout.splitlines()[-1] == "heavy:"
