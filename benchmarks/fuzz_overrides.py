"""Override lists for the fuzzer: every key of every command, with values that no one would type, and some that are.

A case is composed and validated in this process as the command does it, and stops where work would start.
"""

import contextlib
import copy
import functools
import shlex
import string
from collections.abc import Iterator
from typing import Any, NamedTuple

from hydra import version
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline import home
from gmm_pipeline.configuration import command_help, config
from gmm_pipeline.configuration.command_errors import as_mistake
from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.configuration.positional import as_overrides
from gmm_pipeline.configuration.schemas import SCHEMAS
from gmm_pipeline.configuration.targets import DEFINED_IN, build_plugin
from gmm_pipeline.errors import InputError
from gmm_pipeline.execution.composition import SweepComposer
from gmm_pipeline.execution.planning import _no_hydra as no_hydra
from gmm_pipeline.execution.plugins import register_plugins
from gmm_pipeline.execution.quick_configs import quickened
from gmm_pipeline.records.overrides import hydra_override
from gmm_pipeline.stages.fit_checks import check_config
from gmm_pipeline.stages.running import check, resolved

MANY = st.sampled_from([1, 1, 1, 2, 4])
"""Most overrides of a case: the first that is refused ends it."""
LONGEST_MESSAGE = 3000
ODD = (
    *(
        "",
        "null",
        "None",
        "true",
        "no",
        "{}",
        "[]",
        "[[]]",
        "[{}]",
        "{a:1}",
        "[1,[2]]",
        "[null]",
        "{a:{b:[1,{}]}}",
        "???",
    ),
    *(
        "nan",
        "-inf",
        "1e400",
        "1e-320",
        "-0.0",
        "0",
        "-1",
        "1_000",
        "0x1f",
        "9" * 30,
        "7" * 4000,
        "1" * 5000,
        "1e30",
        "0.5",
    ),
    *(
        "str(5)",
        "int(2.5)",
        "float(x)",
        "bool(1)",
        "json_str([1])",
        "range(3)",
        "1,2",
        "choice(1,2)",
        "interval(0,1)",
        "glob(*)",
    ),
    *("${steps}", "${seed}", "${data}", "${selection.scales}", "${nope}", "${.x}", "${..}", "${", "${}", "a${seed}b"),
    *("${oc.env:NOPE}", "${oc.env:NOPE,null}", "${oc.decode:'{'}", "${oc.create:{a:1}}", "${oc.dict.keys:data}"),
    *("${hydra:}", "${hydra:job}", "${hydra:job.name}", "${hydra:job.num}", "${hydra:nope}", "${now:%Y}", "${now:}"),
    *("${gmm.ceil_div:1,0}", "${gmm.ceil_div:a}", "${gmm.or:null,null}", "${gmm.nope:}", "${gmm.unique:}"),
    *(
        "~",
        "~nouser/x",
        "~/x",
        "/",
        ".",
        "..",
        "../..",
        "/dev/null",
        "a/b.csv",
        "x" * 5000,
        "[" * 40 + "]" * 40,
        "(" * 40,
    ),
    *("'", '"', "\\", "\\n", "é☃", "'é☃\U0001d11e'", "'\u202e\u0300'", "a b", "-", "--", "=", "a=b", "@", "#", "%41"),
    *(
        "auto",
        "full",
        "free",
        "bic",
        "float64",
        "[free]",
        "[EII,VVV]",
        "[png]",
        "[gif,gif]",
        "[6,4]",
        "[1e-320,1]",
        "none",
    ),
)
TARGETS = (
    *(
        "os.system",
        "shutil.rmtree",
        "builtins.dict",
        "builtins.eval",
        "optax",
        "optax.adam",
        "optax.chain",
        "optax.nope",
    ),
    *("gmm_pipeline.model.priors.flat", "gmm_pipeline.records.files.os.remove", "gmm_pipeline.nope.x", "gmm_pipeline"),
    *("gmm_pipeline.model.priors.flat.__globals__.clear", "gmm_pipeline.records.datasets.Dataset", "jax.numpy.load"),
    *("", ".", "a..b", "5", "null", "[]", "{}", "${steps}", "${prior}", "'a b'", "é.ü", "__main__.x", "this.s"),
)
"""Values of `_target_`."""
ADDED = ("_args_", "_partial_", "_convert_", "_recursive_", "_target_", "foo", "a.b.c", "0", "é", "plugins.allow")


class Case(NamedTuple):
    """A command line."""

    command: str
    overrides: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it is typed."""
        return shlex.join(["python", "-m", "gmm_pipeline", self.command, *self.overrides])


class _Base(NamedTuple):
    master: DictConfig
    composer: SweepComposer
    keys: tuple[str, ...]
    groups: tuple[str, ...]


@functools.cache
def _base(command: str) -> _Base:
    version.setbase("1.3")
    config.register()
    command_help.register()
    register_plugins()
    with no_hydra():
        hydra = Hydra.create_main_hydra2(command, create_config_search_path(str(config_directory())))
        master = hydra.compose_config(command, [], run_mode=RunMode.RUN)
        composer = SweepComposer(hydra.config_loader)
    groups = tuple(command_help.groups_of(command))
    keys = tuple(key for key in _leaves(OmegaConf.to_container(master)) if key not in groups)
    return _Base(master, composer, keys, groups)


def _leaves(node: Any, within: str = "") -> Iterator[str]:
    for key, value in node.items():
        if within or key != "hydra":
            yield f"{within}{key}"
            yield from _leaves(value, f"{within}{key}.") if isinstance(value, dict) else ()


def _nested(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    of_words = st.dictionaries(st.sampled_from(["a", "path", "_target_", "x y"]), values, max_size=3)
    lists = st.lists(values, max_size=4).map(lambda found: f"[{','.join(found)}]")
    return lists | of_words.map(lambda found: "{" + ",".join(f"{key}:{value}" for key, value in found.items()) + "}")


TYPED = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
"""What an argument of a process can have."""
VALUES = (
    st.sampled_from(ODD)
    | st.integers().map(str)
    | st.integers(-3, 300).map(str)
    | st.floats().map(repr)
    | st.text(TYPED, max_size=8).map(lambda text: hydra_override("", text)[1:])
    | st.text(string.printable, max_size=8)
    | st.recursive(st.sampled_from(ODD), _nested, max_leaves=6)
)


@st.composite
def overrides(draw: st.DrawFn, command: str) -> str:
    """An override of a command, or something like one.

    Args:
        draw: of hypothesis.
        command: whose key it sets.
    """
    base = _base(command)
    kind = draw(st.integers(0, 19))
    key = draw(st.sampled_from(base.keys))
    if kind == 0:  # another option of a group
        group = draw(st.sampled_from(base.groups))
        options = [path.stem for path in (config_directory() / group).glob("*.yaml")]
        return f"{group}={draw(st.sampled_from(sorted(options)) | VALUES)}"
    if kind == 1 and any(name.endswith("._target_") for name in base.keys):
        targets = [name for name in base.keys if name.endswith("._target_")]
        return f"{draw(st.sampled_from(targets))}={draw(st.sampled_from(TARGETS))}"
    if kind == 2:  # a key that is not there
        added = draw(st.sampled_from(ADDED))
        return f"{draw(st.sampled_from(['', '+', '++']))}{key}.{added}={draw(VALUES)}"
    if kind == 3:
        return f"~{key}{draw(st.sampled_from(['', '=', '=1']))}"
    return f"{draw(st.sampled_from(['', '', '', '++', '+']))}{key}={draw(VALUES)}"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A command line, of any command that composes a config.

    Args:
        draw: of hypothesis.
    """
    # `rerun` composes a fit. Half of the cases are fits, which have most keys.
    command = draw(st.sampled_from([*SCHEMAS, *["fit"] * len(SCHEMAS)]))
    return Case(command, tuple(draw(st.lists(overrides(command), min_size=1, max_size=draw(MANY)))))


_read: dict[tuple[str, str], Any] = {}


@contextlib.contextmanager
def _files_read_once() -> Iterator[None]:
    """Let Hydra read each file of `conf/` once for all cases: parsing YAML is half of the time of a composition."""
    own = FileConfigSource.load_config

    def load_config(self: FileConfigSource, config_path: str) -> Any:
        key = (self.path, config_path)
        if key not in _read:
            _read[key] = own(self, config_path)
        return copy.deepcopy(_read[key])

    FileConfigSource.load_config = load_config
    try:
        yield
    finally:
        FileConfigSource.load_config = own


def attempt(case: Case) -> bool:
    """Compose and validate a command line; returns whether it is valid, and raises what is not a mistake of its user.

    Args:
        case: the command line.
    """
    base = _base(case.command)
    try:
        with no_hydra(), _files_read_once(), quickened():
            words = home.in_arguments(as_overrides(case.command, case.overrides))
            with base.composer.in_place(base.master, words) as cfg:
                _validate(cfg)
    except Exception as error:
        with no_hydra(), _files_read_once():
            mistake = as_mistake(error, case.command, case.overrides)
        if mistake is None:
            raise
        _check_message(mistake)
        return False
    return True


def _validate(cfg: DictConfig) -> None:
    check(cfg)
    content = DictConfig(resolved(cfg))
    if "steps" in content:
        check_config(content)
    for group in DEFINED_IN:
        if group in content:
            build_plugin(content, group)


def _check_message(mistake: InputError) -> None:
    text = str(mistake)
    if not text.isprintable() or len(text) > LONGEST_MESSAGE:
        raise AssertionError(f"not one short line: {text}")
