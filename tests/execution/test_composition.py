"""Composition at a fraction of the time: the configs and errors of Hydra's own, and bases that stay whole."""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.basecontainer import BaseContainer

from gmm_pipeline.configuration.config import config_directory
from gmm_pipeline.execution.composition import SweepComposer
from gmm_pipeline.execution.quick_configs import QuickConfig


class Sweep:
    """A sweep's config and two loaders: Hydra's own, and the one that is tested."""

    def __init__(self, *command: str, searchpath: str | None = None, prepended: str | None = None):
        search_path = create_config_search_path(str(config_directory()))
        if prepended is not None:
            search_path.prepend(provider="command-line", path=f"file://{prepended}")
        self.hydra = Hydra.create_main_hydra2("fit", search_path)
        words = [*command] if searchpath is None else [*command, f"hydra.searchpath=['file://{searchpath}']"]
        self.master = self.hydra.compose_config("fit", words, run_mode=RunMode.MULTIRUN)
        _ = self.master.hydra.sweep.dir  # as sweepers do: the time and the random part stay the same for all jobs
        self.composer = SweepComposer(self.hydra.config_loader)

    def by_hydra(self, overrides: list[str]) -> DictConfig:
        return self.hydra.config_loader.load_sweep_config(self.master, overrides)


@pytest.fixture(autouse=True)
def hydra_state() -> Iterator[None]:
    version.setbase("1.3")
    shown = HydraConfig.instance().cfg
    yield
    HydraConfig.instance().cfg = shown
    GlobalHydra.instance().clear()


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    version.setbase("1.3")
    return Sweep("steps=100", "hydra.job.config.override_dirname.exclude_keys=[seed]")


def structure(node: Any) -> object:
    """All that makes a node: values as they are written, types, flags, in order."""
    if isinstance(node, BaseContainer):
        content = node.__dict__["_content"]
        if isinstance(content, dict):
            inner: object = [(key, structure(child)) for key, child in content.items()]
        elif isinstance(content, list):
            inner = [structure(child) for child in content]
        else:
            inner = content
        # A config of ours differs from Hydra's in how it is copied alone.
        kind = DictConfig if type(node) is QuickConfig else type(node)
        return kind, inner, _facts(node), node._metadata.element_type
    return type(node), repr(node._value()), _facts(node)


def _facts(node: Any) -> object:
    metadata = node._metadata
    flags = {name: value for name, value in (metadata.flags or {}).items() if value is not None}
    return metadata.key, metadata.ref_type, metadata.object_type, metadata.optional, flags


def parents_are_right(cfg: BaseContainer) -> bool:
    content = cfg.__dict__["_content"]
    children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else []
    return all(
        child.__dict__["_parent"] is cfg and (not isinstance(child, BaseContainer) or parents_are_right(child))
        for child in children
    )


def resolved(cfg: DictConfig) -> str:
    """As yaml with interpolations resolved; a launcher numbers the job before anything is."""
    cfg = copy.deepcopy(cfg)
    with open_dict(cfg):
        cfg.hydra.job.num, cfg.hydra.job.id, cfg.hydra.runtime.output_dir = 3, "3", "/records/3"
        cfg.hydra.help.template = ""  # made from the command line of the program
    HydraConfig.instance().set_config(cfg)
    return OmegaConf.to_yaml(cfg, resolve=True)


class View(NamedTuple):
    """All that can be seen of a config."""

    text: str
    structure: object
    cache: object
    resolved: str


def view(cfg: DictConfig) -> View:
    return View(OmegaConf.to_yaml(cfg), structure(cfg), copy.deepcopy(OmegaConf.get_cache(cfg)), resolved(cfg))


def same(ours: DictConfig, hydras: DictConfig | View) -> None:
    for own, expected in zip(view(ours), view(hydras) if isinstance(hydras, DictConfig) else hydras, strict=True):
        assert own == expected


JOBS = {
    "nothing": [],
    "values": ["n_components=3", "seed=7", "steps=100"],
    "values below groups": ["optimizer.learning_rate=0.3", "prior.concentration=1.5", "data.n_draws=500"],
    "options": ["optimizer=sgd", "prior=flat"],
    "an option and its values": ["data=file", "data.path=x.csv", "data.column=waiting"],
    "values before their option": ["data.path=x.csv", "n_components=4", "data=file"],
    "the last of two options": ["optimizer=sgd", "optimizer=lion"],
    "experiment": ["experiment=notebook", "seed=3"],
    "tracking": ["tracking=none", "tracking.experiment=mine"],
    "addition": ["+optimizer.nesterov=true", "+note=first"],
    "addition of a mapping": ["+notes={a: 1, b: [2, 3]}", "notes.a=5", "notes.b=[1]"],
    "forced addition": ["++optimizer.learning_rate=0.2", "++optimizer.new=1"],
    "addition to an option": ["+optimizer.extra=0.9", "optimizer=sgd"],
    "deletion": ["~optimizer.b1"],
    "deletion of a value": ["~prior.concentration=2.0", "n_components=2"],
    "set, then deleted": ["optimizer.b1=0.5", "~optimizer.b1"],
    "deletion of an option": ["~experiment", "seed=1"],
    "lists": ["data.weights=[1,2,3]", "data.locs=[0,1,2]", "data.scales=[1,1,1]"],
    "an entry of a list": ["data.weights.0=4"],
    "empty list": ["figures.formats=[]"],
    "mapping": ["data={n_draws: 50, counts: multinomial}", "data.n_draws=60"],
    "mapping with a list": ["data={weights: [3, 4, 5]}"],
    "null": ["tracking.uri=null", "compilation_cache=null", "data.name=null"],
    "quotes and commas": ["data.name='a, \"b\" = c'", 'data.unit="m, s"'],
    "escapes": [r"data.name=a\,b\=c", "outputs_dir='a b/c'"],
    "empty string": ["data.name=''"],
    "interpolation": ["history_every=${steps}", "data.seed=${seed}", "seed=9"],
    "an interpolation replaced": ["history_every=1", "compilation_cache=x"],
    "missing value": ["data.seed=???"],
    "enum": ["precision=float64"],
    "numbers": ["optimizer.learning_rate=1e-3", "optimizer.eps=inf", "data.locs=[nan,-1]", "prior.concentration=2"],
    "hydra's settings": ["hydra.job.name=other", "hydra.sweep.subdir=${hydra.job.override_dirname}", "seed=2"],
    "hydra's separators": ["hydra.job.config.override_dirname.kv_sep=:", "seed=2", "steps=5", "n_components=1"],
    "hydra's additions": ["+hydra.job.env_set.X=1", "seed=2", "~hydra.job.env_set.X"],
    "hydra's environment": ["hydra.job.env_copy=[HOME]"],
    "hydra's option": ["hydra/job_logging=default", "seed=1"],
    "hydra as a mapping": ["hydra={job: {name: x}}", "seed=1"],
    "logs": ["hydra.verbose=true"],
}


@pytest.mark.parametrize("overrides", JOBS.values(), ids=JOBS.keys())
def test_a_job_composed_and_in_place_equals_hydras_own(sweep, overrides):
    hydras = view(sweep.by_hydra(overrides))
    for _ in range(2):  # the second time from what the first has left
        same(sweep.composer.compose(sweep.master, overrides), hydras)
    for _ in range(2):
        with sweep.composer.in_place(sweep.master, overrides) as cfg:
            same(cfg, hydras)


def test_a_job_looks_like_hydras_where_values_before_the_jobs_own_are_of_the_command():
    sweep = Sweep("steps=100", "tracking=none", "+note=x")
    overrides = ["steps=100", "tracking=none", "+note=x", "n_components=5"]
    same(sweep.composer.compose(sweep.master, overrides), sweep.by_hydra(overrides))
    assert sweep.composer.compose(sweep.master, overrides).hydra.overrides.task == overrides


@pytest.mark.parametrize("given_as", ["searchpath", "prepended"])
def test_options_of_the_users_own_folder_are_found(tmp_path, given_as):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: optax.sgd\nlearning_rate: 0.25\n")
    (tmp_path / "colour").mkdir()
    (tmp_path / "colour" / "red.yaml").write_text("shade: 3\n")
    sweep = Sweep(**{given_as: str(tmp_path)})
    overrides = ["optimizer=mine", "optimizer.learning_rate=0.5", "+colour@data.colour=red", "data.colour.shade=4"]
    hydras = sweep.by_hydra(overrides)
    assert hydras.data.colour.shade == 4
    same(sweep.composer.compose(sweep.master, overrides), hydras)
    with sweep.composer.in_place(sweep.master, overrides) as cfg:
        same(cfg, hydras)


@pytest.mark.parametrize("named_by", ["an experiment", "an override"])
def test_a_key_that_leads_elsewhere_is_changed_where_it_leads(tmp_path, named_by):
    (tmp_path / "experiment").mkdir()
    alias = "# @package _global_\nprior:\n  rates: ${optimizer}\n"
    (tmp_path / "experiment" / "alias.yaml").write_text(alias)
    sweep = Sweep(searchpath=str(tmp_path))
    choices = ["experiment=alias"] if named_by == "an experiment" else ["+prior.rates=${optimizer}"]
    with sweep.composer.in_place(sweep.master, choices) as cfg:
        before = structure(cfg)
        assert "b1" in cfg.optimizer
    overrides = [*choices, "~prior.rates.b1"]
    hydras = sweep.by_hydra(overrides)
    assert "b1" not in hydras.optimizer
    same(sweep.composer.compose(sweep.master, overrides), hydras)
    with sweep.composer.in_place(sweep.master, overrides) as cfg:
        same(cfg, hydras)
    with sweep.composer.in_place(sweep.master, choices) as cfg:
        assert structure(cfg) == before


def test_choices_that_follow_from_other_choices(tmp_path):
    for name in ("experiment", "optimizer"):
        (tmp_path / name).mkdir()
    text = "# @package _global_\ndefaults:\n  - /optimizer@prior.second: ${experiment}_like\n  - _self_\n"
    for name in ("one", "two"):
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
        (tmp_path / "optimizer" / f"{name}_like.yaml").write_text(f"named: {name}\n")
    sweep = Sweep(searchpath=str(tmp_path))
    for name in ("one", "two"):
        overrides = [f"experiment={name}", "seed=1"]
        cfg = sweep.composer.compose(sweep.master, overrides)
        assert cfg.prior.second.named == name
        same(cfg, sweep.by_hydra(overrides))


WRONG = {
    "type": ["restarts=abc"],
    "type in a group": ["figures.dpi=[1]"],
    "null where none may be": ["restarts=null"],
    "unknown key": ["n_component=3"],
    "unknown key in a group": ["optimizer.rate=3"],
    "unknown option": ["optimizer=adan"],
    "group that is no group": ["optimiser=adam"],
    "group with a package": ["nothing@here=adam"],
    "addition of what is there": ["+seed=3"],
    "deletion of what is not there": ["~note"],
    "deletion of another value": ["~seed=12"],
    "no value": ["seed"],
    "cannot be parsed": ["data.weights=[1,2"],
    "still a sweep": ["seed=1,2"],
    "entry of a list that is not there": ["data.weights.7=1"],
    "number of an option": ["optimizer=3"],
    "null for an option": ["experiment=null"],
    "hydra's key": ["hydra.job.nam=x"],
    "hydra's deletion": ["~hydra.run.dir"],
    "wrong twice": ["optimizer=adan", "restarts=abc"],
    "option where a value is deleted": ["~optimizer=sgd"],
}


@pytest.mark.parametrize("overrides", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_job_raises_what_hydra_raises_and_leaves_no_trace(sweep, overrides):
    with sweep.composer.in_place(sweep.master, []) as cfg:
        before = structure(cfg)
    with pytest.raises(Exception) as hydras:
        sweep.by_hydra(overrides)
    for _ in range(2):
        with pytest.raises(type(hydras.value)) as composing:
            sweep.composer.compose(sweep.master, overrides)
        with pytest.raises(type(hydras.value)) as in_place, sweep.composer.in_place(sweep.master, overrides):
            pass
        for ours in (composing, in_place):
            assert str(ours.value) == str(hydras.value)
            assert str(ours.value.__cause__) == str(hydras.value.__cause__)
    with sweep.composer.in_place(sweep.master, []) as cfg:
        assert structure(cfg) == before


@pytest.mark.parametrize("overrides", [*JOBS.values(), *WRONG.values()], ids=[*JOBS, *WRONG])
def test_a_sweeper_may_validate_any_job(sweep, overrides):
    assert sweep.composer.load_sweep_config(sweep.master, overrides) is sweep.master


GROUPS = [path.name for path in config_directory().iterdir() if path.is_dir()]
WORDS = sorted({word for words in JOBS.values() for word in words})
VALUES = [word for word in WORDS if "hydra" not in word and word.partition("=")[0] not in GROUPS]
WRONG_VALUES = ["restarts=abc", "n_component=3", "optimizer.rate=3", "+seed=3", "data.weights.7=1", "data.seed.a=1"]


@settings(max_examples=100)
@given(st.lists(st.lists(st.sampled_from([*VALUES, *WRONG_VALUES]), max_size=5), min_size=1, max_size=4))
def test_a_base_is_restored_whole(sweep, jobs):
    composer, master = sweep.composer, sweep.master
    base = composer._base(composer._job(master, []))
    before, resolved_before = structure(base), copy.deepcopy(OmegaConf.get_cache(base))
    for overrides in jobs:
        try:
            with composer.in_place(master, overrides) as cfg:
                OmegaConf.to_container(cfg, resolve=False)
                _ = cfg.hydra.sweep.dir  # resolves what is remembered for a launch
        except (HydraException, ValueError):
            continue
    assert structure(base) == before
    assert OmegaConf.get_cache(base) == resolved_before
    assert parents_are_right(base)
    assert all(base is None or parents_are_right(base) for base in composer._bases.values())


@settings(max_examples=25)  # Hydra takes a tenth of a second for each
@given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_any_mixture_of_overrides_equals_hydras(sweep, overrides):
    try:
        hydras = sweep.by_hydra(overrides)
    except (HydraException, ValueError) as error:
        with pytest.raises(type(error)):
            sweep.composer.compose(sweep.master, overrides)
        return
    assert structure(sweep.composer.compose(sweep.master, overrides)) == structure(hydras)
    with sweep.composer.in_place(sweep.master, overrides) as cfg:
        assert structure(cfg) == structure(hydras)
        assert parents_are_right(cfg)


def test_a_base_is_restored_after_a_failure(sweep):
    with sweep.composer.in_place(sweep.master, ["seed=1"]) as cfg:
        before = structure(cfg)
    with (
        pytest.raises(ZeroDivisionError),
        sweep.composer.in_place(sweep.master, ["seed=2", "data={n_draws: 7}"]) as cfg,
    ):
        raise ZeroDivisionError
    with sweep.composer.in_place(sweep.master, ["seed=1"]) as cfg:
        assert structure(cfg) == before


def test_what_was_resolved_in_place_is_forgotten(sweep):
    composer = SweepComposer(sweep.hydra.config_loader)
    base = composer._base(composer._job(sweep.master, []))
    assert base is not None
    before = copy.deepcopy(OmegaConf.get_cache(base))
    with composer.in_place(sweep.master, []) as cfg:
        assert cfg.hydra.sweep.dir == sweep.master.hydra.sweep.dir
        assert cfg.hydra.run.dir
    assert OmegaConf.get_cache(base) == before


def test_whoever_composes_in_place_may_show_the_job_to_hydra(sweep):
    base = sweep.composer._base(sweep.composer._job(sweep.master, []))
    before = structure(base)
    with sweep.composer.in_place(sweep.master, ["tracking.run_name=${hydra:job.name}-${seed}"]) as cfg:
        HydraConfig.instance().set_config(cfg)
        assert cfg.tracking.run_name == "fit-0"
    assert structure(base) == before
    mine = sweep.composer.compose(sweep.master, [])
    mine.hydra.job.num = 1  # Hydra made the one in use read-only; a copy of the base must not be
    assert OmegaConf.is_missing(sweep.composer.compose(sweep.master, []).hydra.job, "num")


def test_two_jobs_can_be_looked_at_at_once(sweep):
    overrides = [["seed=1", "steps=7", "+prior.x=1"], ["seed=2", "data.n_draws=7"]]
    with sweep.composer.in_place(sweep.master, overrides[0]) as first:
        with sweep.composer.in_place(sweep.master, overrides[1]) as second:
            same(second, sweep.by_hydra(overrides[1]))
        same(sweep.composer.compose(sweep.master, overrides[1]), sweep.by_hydra(overrides[1]))
        same(first, sweep.by_hydra(overrides[0]))


def test_what_was_composed_is_the_callers_own(sweep):
    first = sweep.composer.compose(sweep.master, ["data.weights=[1,9]"])
    first.data.weights[0] = 5
    first.hydra.job.num = 4
    same(sweep.composer.compose(sweep.master, ["data.weights=[1,9]"]), sweep.by_hydra(["data.weights=[1,9]"]))


def test_hydra_composes_once_for_each_set_of_choices_and_parses_each_word_once(monkeypatch):
    sweep = Sweep("steps=100")
    composed, parsed = [], []
    load, parse = sweep.composer._hydra.load_configuration, OverridesParser.parse_rule
    monkeypatch.setattr(
        sweep.composer._hydra, "load_configuration", lambda *words: (composed.append(words), load(*words))[1]
    )
    monkeypatch.setattr(
        OverridesParser, "parse_rule", lambda self, line, rule: (parsed.append(line), parse(self, line, rule))[1]
    )
    for optimizer in ("adam", "sgd"):
        for seed in range(5):
            sweep.composer.compose(sweep.master, ["steps=100", f"optimizer={optimizer}", f"seed={seed}"])
            with sweep.composer.in_place(sweep.master, ["steps=100", f"optimizer={optimizer}", f"seed={seed}"]):
                pass
    words = ["steps=100", "optimizer=adam", "optimizer=sgd", *(f"seed={seed}" for seed in range(5))]
    assert len(composed) == 2
    assert sorted(set(parsed) - {"optimizer=adam", "optimizer=sgd"}) == sorted(set(words) - set(words[1:3]))
    assert parsed.count("seed=3") == parsed.count("steps=100") == 1


def test_bases_are_kept_up_to_a_number(sweep, monkeypatch):
    monkeypatch.setattr("gmm_pipeline.execution.composition.BASES", 2)
    composer = SweepComposer(sweep.hydra.config_loader)
    for optimizer in ("adam", "sgd", "lion", "sgd"):
        same(composer.compose(sweep.master, [f"optimizer={optimizer}"]), sweep.by_hydra([f"optimizer={optimizer}"]))
    assert [choices[-1] for _, choices in composer._bases] == ["optimizer=lion", "optimizer=sgd"]


def test_everything_else_is_the_loaders_own(sweep):
    composer, loader = sweep.composer, sweep.hydra.config_loader
    assert composer.get_search_path() is loader.get_search_path()
    assert composer.get_sources() is loader.get_sources()
    assert composer.list_groups("") == loader.list_groups("")
    assert composer.get_group_options("prior") == loader.get_group_options("prior")
    ours, hydras = (
        [default.config_path for default in one.compute_defaults_list("fit", ["prior=flat"], RunMode.RUN).defaults]
        for one in (composer, loader)
    )
    assert ours == hydras
    ours, hydras = (one.load_configuration("fit", ["seed=4"], RunMode.RUN) for one in (composer, loader))
    assert structure(ours) == structure(hydras)
