"""What a wrong command line, file or value ends in: one line on stderr, exit code 2, and nothing left behind.

Most cases are forked off one process that has imported everything, in a folder of their own.
"""

import json
import pickle
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Cli, Ended, Fork, Quick
from pyarrow import parquet


@pytest.fixture
def folder(tmp_path: Path, files: Path) -> Path:
    """A folder with the files that the cases name, and nothing else."""
    return Path(shutil.copytree(files, tmp_path / "here"))


@pytest.fixture
def forked(fork: Fork, folder: Path) -> Callable[..., Ended]:
    return lambda *arguments: fork(folder, *arguments)


class Creator:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return Path("unpickled").touch, ()


COLUMNS = {
    "good.csv": "x\n1\n2\n3\n4.5\n9\n",
    "two.csv": "minutes,label\n1,a\n2,b\n3,c\n",
    "missing_among_two.csv": "x,y\n1,1\n,2\n3,3\n",
    "nan.csv": "x\n1\nnan\n3\n",
    "inf.csv": "x\n1\n2\ninf\n",
    "text.csv": "x\n1\nthree\n3\n",
    "empty.csv": "",
    "header.csv": "x\n",
    "constant.csv": "x\n4\n4\n4\n",
    "one_row.csv": "x\n4\n",
    "without_header.csv": "1.5\n2.5\n4\n9\n",
    "ragged.csv": "x,y\n1,2\n3\n",
    "negative_weights.csv": "x,w\n1,1\n2,-1\n3,1\n",
    "no_weights.csv": "x,w\n1,0\n2,0\n3,0\n",
    "three_distinct.csv": "x\n1\n2\n2\n3\n3\n",
    "one_that_counts.csv": "x,w\n1,1\n2,0\n3,0\n",
    "same_names.csv": "x,x\n1,2\n3,4\n",
    "tiny.csv": "x\n1e-200\n2e-200\n3e-200\n",
    "huge.csv": "x\n1e308\n-1e308\n1\n",
    "truth.json": '{"weights": [1, 1], "locs": [0, 1], "scales": [1, -1]}',
    "no_truth.json": '{"weights": [1, 1]}',
    "broken.json": '{"weights": [1,',
}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, text in COLUMNS.items():
        (folder / name).write_text(text)
    np.save(folder / "objects.npy", np.array([Creator(), Creator()], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps(Creator()))
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    parquet.write_table(pa.table({"x": np.arange(100.0)}), folder / "whole.parquet")
    (folder / "truncated.parquet").write_bytes((folder / "whole.parquet").read_bytes()[:-50])
    (folder / "notes.txt").write_text("1\n2\n")
    (folder / "mine" / "prior").mkdir(parents=True)
    (folder / "mine" / "prior" / "ridge.yaml").write_text("_target_: my.ridge\nstrength: 1.0\n")
    (folder / "mine" / "prior" / "latin.yaml").write_bytes(b"# \xe9\n_target_: my.ridge\n")
    return folder


GROUP_AND_KEY = [
    ("optimizer=adm", "error: optimizer: ", "Did you mean optimizer=adam?"),
    ("data=two_mode", "error: data: ", "Did you mean data=two_modes?"),
    ("stepz=100", "error: stepz: ", "Did you mean steps or sweep?"),
    ("learning_rate=0.1", "error: learning_rate: ", "optimizer.learning_rate"),
    ("optimizer.learning_rat=0.1", "error: optimizer.learning_rat: ", "Did you mean optimizer.learning_rate?"),
    ("data.path=good.csv", "error: data.path: ", "It belongs to data=file"),
    ("optimizer.momentum=0.9", "error: optimizer.momentum: ", "optimizer=sgd"),
    ("+optimizer.foo=1", "error: optimizer.foo: ", "learning_rate"),
    ("steps", "error: the command line: ", "Did you mean steps=VALUE?"),
    ("good", "error: the command line: ", "key=value, or a data file"),
    ("god.csv", "error: data.path: ", "Did you mean good.csv"),
    ("data=good.csv", "error: data: ", "Name the file alone, as in fit good.csv"),
    ("prior._target_=no.such.function", "error: prior._target_: ", "'no.such.function'"),
    ("optimizer._target_=optax.adm", "error: optimizer._target_: ", "'optax.adm'"),
    ("optimizer._target_=optax", "error: optimizer._target_: ", "'optax'"),
    ("~data", "error: data: ", "data=VALUE"),
    ("prior=null", "error: prior: ", "For no prior: prior=flat."),
    ("prior=none", "error: prior: ", "For no prior: prior=flat."),
    ("prior=${oc.env:NO_SUCH_NAME,null}", "error: prior: ", "one of dirichlet, "),
    ("tracking=null", "error: tracking: ", "For no tracking: tracking=none."),
    ("figures=false", "error: figures: ", "For no figures: figures=none."),
    ("~animation", "error: animation: ", "For no animation: animation=none."),
    (
        "n_components=1,2",
        "error: n_components: ",
        "run once for each: python -m gmm_pipeline fit --multirun n_components=1,2.",
    ),
    ("seed=range(0,3)", "error: seed: ", "fit --multirun 'seed=range(0,3)'."),
    ("data.locs=1,5", "error: data.locs: ", "for a list: 'data.locs=[1,5]'"),
    ("data.name=a,b", "error: data.name: ", """for a text with a comma: 'data.name="a,b"'"""),
    ("optimizer.learning_rate=0,05", "error: optimizer.learning_rate: ", "a point: optimizer.learning_rate=0.05."),
    ('level="0,95"', "error: level: ", "a point: level=0.95."),
    (f"seed={'1' * 5000}", "error: seed: ", " … "),
    ("hydra.verbose=5", "error: the command line: ", "key=value"),
    ("steps=${nothing}", "error: schedule.decay_steps: ", "'nothing'"),
    ("data.scales=[1,2", "error: data.scales: ", "[1,2"),
    ("data.path=my data (1).csv", "error: data.path: ", """'data.path="my data (1).csv"'"""),
    ('data.path=a"(.csv', "error: data.path: ", """'data.path="a\\"(.csv"'"""),
    ("+data.path={x", "error: data.path: ", "{x"),
    ("--config-dir=nowhere", "error: the command line: ", "nowhere"),
]
VALUES = [
    ("n_components=0", "error: n_components: ", "from 1 to 10000, or auto, but got 0"),
    ("n_components=-2", "error: n_components: ", "or auto, but got -2"),
    ("n_components=1.5", "error: n_components: ", "or auto, but got 1.5"),
    ("n_components=abc", "error: n_components: ", "or auto, but got 'abc'"),
    ("n_components=null", "error: n_components: ", "or auto, but got null"),
    ("n_components=true", "error: n_components: ", "or auto, but got True"),
    ("steps=0", "error: steps: ", "from 1 to 1000000000, but got 0"),
    ("steps=-5", "error: steps: ", "from 1 to 1000000000, but got -5"),
    ("steps=abc", "error: steps: ", "'abc'"),
    ("history_every=0", "error: history_every: ", "from 1 to 1000000000, but got 0"),
    ("precision=half", "error: precision: ", "float32"),
    ("seed=-1", "error: seed: ", "from 0 to 4294967295, but got -1"),
    ("data.seed=-1", "error: data.seed: ", "-1"),
    ("data.scales=[1,-2]", "error: data.scales: ", "positive"),
    ("data.weights=[1]", "error: data.weights: ", "2 numbers, as many as data.locs"),
    ("data.weights=[1,0]", "error: data.weights: ", "positive"),
    ("data.locs=[0,abc]", "error: data.locs: ", "'abc'"),
    ("data.n_draws=1", "error: data.n_draws: ", "but got 1"),
    ("data.n_draws=many", "error: data.n_draws: ", "'many'"),
    ("data.n_draws=1e3", "error: data.n_draws: ", "1000.0"),
    ("data.seed=abc", "error: data.seed: ", "'abc'"),
    ("data.counts=rounded", "error: data.counts: ", "exact or multinomial, but got 'rounded'"),
    ("prior.concentration=0", "error: prior.concentration: ", "positive"),
    ("prior.concentration=abc", "error: prior.concentration: ", "a number, but got 'abc'"),
    ("prior.concentration=str(5)", "error: prior.concentration: ", "a number, but got '5'"),
    ("prior.concentration=true", "error: prior.concentration: ", "a number, but got True"),
    ("prior.concentration=[1,2]", "error: prior.concentration: ", "a number, but got [1, 2]"),
    ("optimizer.b2={a:1}", "error: optimizer.b2: ", "got {'a': 1}"),
    ("data.unit=[{}]", "error: data.unit: ", "got [{}]"),
    ("+data._args_=[1]", "error: data._args_: ", "the name of a hyperparameter"),
    (f"optimizer.b2={'1' * 4000}", "error: optimizer.b2: ", "a finite number"),
    (f"tolerance={'1' * 4000}", "error: tolerance: ", "a value that can be read"),
    ("data.name='a\0b'", "error: data.name: ", "a text"),
    (f"data.locs={'[' * 2000}{']' * 2000}", "error: data.locs: ", "too many brackets within brackets"),
    ("data.name=${hydra:}", "error: data.name: ", "an interpolation that leads to a value"),
    ("data.locs=-532", "error: data.locs: ", "a list, as in [1,2]"),
    ("animation.size=[[1,[2]],{a:[]}]", "error: animation.size: ", "a list, as in [1,2]"),
    ("selection.largest=1_000", "error: selection.largest: ", "from 1 to 200, but got 1000"),
    ("search.starts.quantile=nan", "error: search.starts.quantile: ", "from 0 to 1, but got nan"),
    ("~data.seed", "error: data.seed: ", "data.seed=VALUE"),
    ("prior._target_=builtins.dict", "error: prior._target_: ", "builtins.dict"),
    ("figures.formats=${steps}", "error: figures.formats: ", "a list"),
    ("figures.size=${oc.env:NO_SUCH_NAME,null}", "error: figures.size: ", "got null"),
    ("level=null", "error: level: ", "a value, but got null"),
    ("figures.formats=png", "error: figures.formats: ", "a list"),
    ("average_loss=maybe", "error: average_loss: ", "true or false, but got 'maybe'"),
    ("optimizer.learning_rate=abc", "error: optimizer.learning_rate: ", "a number, but got 'abc'"),
    ("schedule.decay_steps=0", "error: schedule: ", "decay_steps=0"),
    ("tracking.uri=ftp://nowhere", "error: tracking.uri: ", "ftp://nowhere"),
    ("tracking.series_points=-1", "error: tracking.series_points: ", "from 0 to 1000000, but got -1"),
    ("figures.formats=[gif]", "error: figures.formats: ", "any of png, svg, pdf, but got ['gif']"),
    ("figures.dpi=abc", "error: figures.dpi: ", "'abc'"),
    ("figures.dpi=1", "error: figures.dpi: ", "from 20 to 2400, but got 1"),
    ("figures.size=[1]", "error: figures.size: ", "two numbers from 0.5"),
    ("figures.style=ggplot", "error: figures.style: ", "one of default, none"),
    ("figures.font_size=0", "error: figures.font_size: ", "a number from 4 to 40"),
    ("animation.formats=[avi]", "error: animation.formats: ", "any of gif, mp4, html, but got ['avi']"),
    ("animation.frames=0", "error: animation.frames: ", "from 1 to 10000, but got 0"),
    ("animation.fps=0", "error: animation.fps: ", "from 0.01 to 50, but got 0"),
    ("animation.fps=1e-320", "error: animation.fps: ", "from 0.01 to 50, but got 1e-320"),
    ("animation.hold=-1", "error: animation.hold: ", "-1"),
    ("criterion=foo", "error: criterion: ", "bic, icl, sbic, held_out, likelihood_ratio, but got 'foo'"),
    ("scales=tied", "error: scales: ", "free"),
    ("selection.smallest=two", "error: selection.smallest: ", "'two'"),
    ("folds=-1", "error: folds: ", "but got -1"),
    ("folds=1", "error: folds: ", "but got 1"),
    ("bootstrap=-1", "error: bootstrap: ", "from 0 to 100000, but got -1"),
    ("likelihood_ratio=-1", "error: likelihood_ratio: ", "from 0 to 100000, but got -1"),
    ("level=1.5", "error: level: ", "from 0.5 to 0.9999, but got 1.5"),
    ("level=nan", "error: level: ", "but got nan"),
    ("restarts=0", "error: restarts: ", "from 1 to 100000, but got 0"),
    ("tolerance=-1", "error: tolerance: ", "0 or more, but got -1"),
    ("gradient_tolerance=inf", "error: gradient_tolerance: ", "0 or more, but got inf"),
    ("scale_floor=2", "error: scale_floor: ", "from 0 to 1, but got 2"),
    ("fewest_data=-0.5", "error: fewest_data: ", "0 or more, but got -0.5"),
    ("outputs_dir=good.csv", "error: good.csv/fit/", "Not a directory"),
    ("hydra.run.dir=good.csv", "error: good.csv: ", "File exists"),
]
DATA = [
    ("data.path=good.cvs", "error: data.path: ", "Did you mean good.csv"),
    ("data.path=god.csv", "error: data.path: ", "Did you mean good.csv"),
    ("data.path=nowhere/good.csv", "error: data.path: ", "nowhere/good.csv"),
    ("data.path=broken.json", "error: data.path: ", "ends in .csv"),
    ("data.path=notes.txt", "error: notes.txt: ", "data.header=none"),
    ("data.path=two.csv data.column=minute", "error: data.column: ", "minutes, label"),
    ("data.path=no_weights.csv", "error: no_weights.csv, column 'w': ", "are all 0"),
    ("data.path=missing_among_two.csv", "error: missing_among_two.csv: ", "first in row 2, column 'x'"),
    ("data.path=good.csv data.column=x data.columns=[x]", "error: data.columns: ", "Add data.column=null"),
    ("data.path=two.csv data.column=label", "error: two.csv, column 'label': ", "'a'"),
    ("data.path=two.csv data.column=minutes data.weights_column=w", "error: data.weights_column: ", "minutes, label"),
    ("data.path=missing_among_two.csv data.column=x", "error: missing_among_two.csv, column 'x': ", "first in row 2"),
    ("data.path=nan.csv", "error: nan.csv, column 'x': ", "first in row 2"),
    ("data.path=inf.csv", "error: inf.csv, column 'x': ", "first in row 3"),
    ("data.path=text.csv", "error: text.csv, column 'x': ", "'three'"),
    ("data.path=empty.csv", "error: empty.csv: ", "readable"),
    ("data.path=header.csv", "error: header.csv, column 'x': ", "no rows"),
    ("data.path=constant.csv", "error: constant.csv, column 'x': ", "are all 4"),
    ("data.path=one_row.csv", "error: one_row.csv, column 'x': ", "two different values"),
    ("data.path=without_header.csv", "error: without_header.csv: ", "header"),
    ("data.path=ragged.csv data.column=x", "error: ragged.csv: ", "readable"),
    ("data.path=negative_weights.csv data.column=x data.weights_column=w", "error: negative_weights.csv, ", "row 2"),
    (
        "data.path=no_weights.csv data.column=x data.weights_column=w",
        "error: no_weights.csv, column 'w': ",
        "not all 0",
    ),
    ("data.path=three_distinct.csv n_components=4", "error: n_components: ", "at most 3"),
    ("data.path=three_distinct.csv n_components=4 standardize=false", "error: n_components: ", "at most 3"),
    (
        "data.path=one_that_counts.csv data.column=x data.weights_column=w",
        "error: one_that_counts.csv, ",
        "got one row",
    ),
    ("data.path=same_names.csv data.column=x", "error: same_names.csv: ", "x, x"),
    ("data.path=huge.csv", "error: huge.csv, column 'x': ", "from -1e+308 to 1e+308"),
    ("data.path=tiny.csv", "error: tiny.csv, column 'x': ", "from 1e-200 to 3e-200"),
    ("data.path=5", "error: data.path: ", "but got 5"),
    ("data.path=objects.npy", "error: objects.npy: ", "readable"),
    ("data.path=pickle.npy", "error: pickle.npy: ", "readable"),
    ("data.path=cube.npy", "error: cube.npy: ", "(2, 2, 2)"),
    ("data.path=truncated.parquet", "error: truncated.parquet: ", "readable"),
    ("data.path=good.csv data.truth=truth.json", "error: truth.json.scales: ", "positive"),
    ("data.path=good.csv data.truth=no_truth.json", "error: data.truth: ", "locs"),
    ("data.path=good.csv data.truth=broken.json", "error: data.truth: ", "broken.json"),
    ("data.path=good.csv data.truth=none.json", "error: data.truth: ", "none.json"),
    ("", "error: data.path: ", "data.path=VALUE"),
]


TOGETHER = [
    (
        "n_components=auto selection.smallest=3 selection.largest=2",
        "error: selection.largest: ",
        "selection.smallest, 3, or more, but got 2",
    ),
    ("n_components=auto selection.smallest=0", "error: selection.smallest: ", "from 1 to 200, but got 0"),
    ("n_components=auto selection.scales=[tied]", "error: selection.scales: ", "any of free, equal, at least one"),
    ("n_components=auto selection.scales=[]", "error: selection.scales: ", "at least one of them"),
    ("n_components=auto criterion=held_out", "error: folds: ", "2 or more where criterion=held_out"),
    ("n_components=auto criterion=likelihood_ratio", "error: likelihood_ratio: ", "likelihood_ratio=99"),
    ("data.n_draws=20 folds=21", "error: folds: ", "from 2 to 20, the number of observations, but got 21"),
    (
        "data.n_draws=20 n_components=auto selection.smallest=21 selection.largest=30",
        "error: n_components: ",
        "at most 20",
    ),
    ("search=[] search.starts.kmeans=0.5", "error: search: ", "a value, but got none"),
    ("optimizer=em prior=weakly_informative", "error: optimizer: ", "Use prior=flat or prior=dirichlet"),
]


QUIET = ("tracking=none", "figures=none", "animation=none")


def check(ended: Ended | subprocess.CompletedProcess[str], folder: Path, begins: str, says: str) -> None:
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith(begins)
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert ended.returncode == 2
    assert [path for path in folder.glob("outputs/*/*") if path.parent.name in ("fit", "simulate", "sweeps")] == []


TABLES = {
    "whole.csv": "x\n" + "\n".join(str(number) for number in range(1, 41)),
    "thousands.csv": "a;x\n" + "\n".join(f"1;{text}" for text in ["-163,17", "-4.300,10", "5,1"] * 9),
    "bare.csv": "\n".join(f"{number},{number:03}" for number in range(20)),
    "text.csv": "x\n" + "\n".join(f"{number}.5" for number in range(400)),
}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["whole.csv", "data.missing_codes=null"], "data.missing_codes: expected a list, as in [1,2], but got none"),
        (["data.weights=1"], "data.weights: expected a list, as in [1,2], but got 1"),
        (["whole.csv", "data.name=[x]"], "data.name: expected a text, but got ['x']"),
        (["whole.csv", "data.comment=[x]"], "data.comment: expected a text, but got ['x']"),
        (["optimizer.learning_rate=-1"], "optimizer.learning_rate: expected a positive number, but got -1"),
        (["optimizer.learning_rate=0"], "optimizer.learning_rate: expected a positive number, but got 0"),
        (["+selction.largest=3"], "Did you mean selection"),
        (["thousands.csv", "data.column=x"], "expected numbers without separators of thousands, but got '-4.300,10'"),
        (["thousands.csv", "data.column=x", "data.decimal=comma"], "separators of thousands, but got '-4.300,10'"),
        (["bare.csv", "data.header=none"], "If a comma marks decimals, add data.decimal=comma instead."),
        (["config=text.csv"], "text.csv: expected a YAML mapping of keys to values, but got the text 'x 0.5 1.5"),
    ],
)
def test_a_value_of_another_kind_is_one_short_message(quick: Quick, tmp_path, words, said):
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text + "\n")
    refused = quick("fit", *words, "tracking=none")
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert len(refused.stderr) < 800
    assert not list(tmp_path.glob("outputs/*/*"))


def test_one_code_of_a_missing_value_is_a_list_of_one(quick: Quick, tmp_path):
    (tmp_path / "whole.csv").write_text(TABLES["whole.csv"] + "\n")
    for code, left in (('"23"', 39), ("-999", 40), ("NA", 40)):
        fitted = quick(
            *("fit", "whole.csv", f"data.missing_codes={code}", "data.missing=drop", "prior=flat", "search=none"),
            *("steps=5", "tracking=none", "figures=none", "animation=none"),
        )
        assert fitted.returncode == 0, fitted.stderr
        assert f"x: {left} observations" in fitted.stdout


@pytest.mark.parametrize(("argument", "begins", "says"), GROUP_AND_KEY + VALUES, ids=lambda value: value[:40])
def test_wrong_key_or_value(forked, folder, argument, begins, says):
    check(forked("fit", *QUIET, argument), folder, begins, says)


@pytest.mark.parametrize(("arguments", "begins", "says"), TOGETHER, ids=lambda value: value[:60])
def test_values_that_do_not_go_together(forked, folder, arguments, begins, says):
    check(forked("fit", *QUIET, *arguments.split()), folder, begins, says)


@pytest.mark.parametrize(("arguments", "begins", "says"), DATA, ids=lambda value: value[:40])
def test_data_that_cannot_be_fitted(forked, folder, arguments, begins, says):
    check(forked("fit", *QUIET, "data=file", *arguments.split()), folder, begins, says)
    assert not (folder / "unpickled").exists()


@pytest.mark.parametrize(
    ("arguments", "begins", "says"),
    [
        ("simulate output=draws.txt", "error: draws.txt: ", "'.txt'"),
        ("simulate output=draws", "error: draws: ", "no suffix"),
        ("simulate figures.formats=[gif]", "error: figures.formats: ", "'gif'"),
        ("simulate data=file data.path=good.csv", "error: data: ", "data=two_modes"),
        ("simulate good.csv", "error: the command line: ", "output=good.csv"),
        ("animate good.csv", "error: the command line: ", "animate --help"),
        ("fit good.csv two.csv", "error: the command line: ", "fit --multirun FILE FILE"),
        ("fit good.csv data.path=two.csv", "error: the command line: ", "good.csv and data.path=two.csv"),
        ("fit two.csv data.column=label", "error: two.csv, column 'label': ", "'a'"),
        ("simulate data.scales=[1]", "error: data.scales: ", "2 numbers"),
        ("animate", "error: run: ", "python -m gmm_pipeline fit"),
        ("animate run=nowhere", "error: run: ", "but got nowhere"),
        ("animate animation=none", "error: animation.formats: ", "animation=default"),
        ("animate animation.fps=51", "error: animation.fps: ", "to 50, but got 51"),
        ("simulate figures.dpi=1", "error: figures.dpi: ", "from 20 to 2400"),
        ("animate animation.dpi=5", "error: animation.dpi: ", "from 20 to 2400"),
        ("ui tracking=none", "error: tracking.uri: ", "null"),
        ("ui port=-1", "error: port: ", "from 0 to 65535, but got -1"),
        ("ui port=65536", "error: port: ", "from 0 to 65535, but got 65536"),
        ("ui", "error: tracking.uri: ", "outputs/mlflow.db"),
        ("fit --multirun seed=range(0,10000) restarts=range(1,102)", "error: seed × restarts: ", "got 1,010,000."),
        ("fit --multirun --cfg job", "error: the command line: ", "--multirun"),
        ("fit --multirun seed=interval(0,3)", "error: the command line: ", "hydra/sweeper=optuna"),
        ("fit --multirun n_components=glob(*) sweep=empty", "error: the command line: ", "n_components=glob(*)"),
        ("plan --multirun seed=1,2 execution.devices=999", "error: execution.devices: ", "a number up to"),
        ("fit --foo", "error: --foo: ", "Did you mean --info"),
        ("fit steps=5 --multirum seed=1,2", "error: --multirum: ", "Did you mean --multirun"),
        ("fit --info=everything", "error: the command line: ", "'everything'"),
        ("fit steps=5 --cfg", "error: the command line: ", "--cfg/-c: expected one argument"),
        ("fit +search.moves.spilt=1", "error: search.moves.spilt: ", "Did you mean search.moves.split?"),
        ("fit +search.foo=1", "error: search.foo: ", "expected one of points, rows, most_data"),
        ("fit optimizer=sgd optimizer.momentm=0.5", "error: optimizer.momentm: ", "Did you mean optimizer.momentum?"),
        ("fit data=file data.pth=good.csv", "error: data.pth: ", "data.column, data.columns, data.comment"),
        ("fit --multirun optimizer=sgd,adam optimizer.momentm=1", "error: optimizer.momentm: ", "optimizer.b1"),
        ("fit experiment=notebook prior.concentratio=1", "error: prior.concentratio: ", "prior.concentration?"),
        ("fit --config-dir mine prior=ridge prior.strenth=1", "error: prior.strenth: ", "Did you mean prior.strength"),
        ("fit prior.strength=1 --config-dir=mine", "error: prior.strength: ", "It belongs to prior=ridge"),
        ("fit --config-dir mine prior=latin", "error: a config: ", "a YAML file in UTF-8"),
    ],
    ids=lambda value: value[:40],
)
def test_other_commands_and_flags(forked, folder, arguments, begins, says):
    check(forked(*arguments.split()), folder, begins, says)


@pytest.mark.parametrize(("argument", "begins", "says"), [*GROUP_AND_KEY[:3], VALUES[0], VALUES[8]])
def test_a_process_of_its_own_says_the_same(cli: Cli, tmp_path, argument, begins, says):
    check(cli("fit", *QUIET, argument), tmp_path, begins, says)


def test_the_remedy_for_a_name_with_brackets_works(forked, folder):
    said = forked("fit", "data=file", "data.path=my 'data' (1).csv").stderr
    (remedy,) = shlex.split(said.strip().rpartition("for Hydra: ")[2].removesuffix("."))
    shutil.copy(folder / "good.csv", folder / "my 'data' (1).csv")
    ended = forked("fit", *QUIET, "data=file", "--multirun", remedy, "steps=2")
    assert ended.returncode == 0, ended.stderr


def test_a_record_is_never_replaced(forked, folder):
    run = ("fit", *QUIET, "steps=2", "data.n_draws=20", "hydra.run.dir=outputs/fit/mine")
    assert forked(*run).returncode == 0
    before = {path: path.read_bytes() for path in (folder / "outputs/fit/mine").glob("*.[jnpy]*")}
    unfinished = forked(*run[:-1], "n_components=0", "hydra.output_subdir=null", "hydra.run.dir=outputs/fit/none")
    assert unfinished.returncode == 2
    assert not (folder / "outputs/fit/none").exists()
    for more in ([], ["hydra.output_subdir=null"]):
        again = forked(*run, *more)
        assert again.returncode == 2
        assert again.stderr.startswith("error: hydra.run.dir: ")
    assert {path: path.read_bytes() for path in (folder / "outputs/fit/mine").glob("*.[jnpy]*")} == before


def test_one_bad_job_of_a_sweep_names_itself_and_keeps_the_other_records(forked, folder):
    ended = forked("fit", "--multirun", *QUIET, "steps=2", "data.n_draws=20", "n_components=1,0")
    assert ended.returncode == 1
    assert ended.stderr == ""
    assert "run 1 (n_components=0) failed: n_components: expected" in ended.stdout
    statuses = [
        json.loads(path.read_text())["status"] for path in sorted(folder.glob("outputs/sweeps/*/*/record.json"))
    ]
    assert statuses == ["finished", "failed"]


OF_A_SWEEP = [
    GROUP_AND_KEY[0],
    GROUP_AND_KEY[2],
    *VALUES[:-2:7],
    *(case for case in VALUES if "tracking.uri" in case[0]),
]


@pytest.mark.parametrize(("argument", "begins", "says"), OF_A_SWEEP)
def test_a_mistake_of_all_runs_of_a_sweep_is_said_once(forked, folder, argument, begins, says):
    check(forked("fit", "--multirun", *QUIET, argument, "data.name=a,b"), folder, begins, says)


@pytest.mark.parametrize(("argument", "begins", "says"), [GROUP_AND_KEY[0], GROUP_AND_KEY[2], *VALUES[:2]])
def test_a_mistake_is_said_before_anything_is_planned(forked, folder, argument, begins, says):
    check(forked("plan", argument, "data.name=a,b"), folder, begins, says)
    assert not (folder / "outputs").exists()


def test_the_traceback_is_there_for_who_asks(quick: Quick):
    ended = quick("fit", "optimizer=adm", HYDRA_FULL_ERROR="1")
    assert "Traceback" in ended.stderr
    assert ended.returncode != 0
