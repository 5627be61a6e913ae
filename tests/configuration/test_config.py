"""Every YAML of `conf/` is found by globbing and goes through what a fit asks of it, so a new one is tested at once."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache, partial, reduce
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import yaml
from conftest import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import MISSING, DictConfig, OmegaConf

from gmm_pipeline.analysis.answers import answer
from gmm_pipeline.configuration import checks, config, schemas
from gmm_pipeline.configuration.limits import PICTURE_FORMATS
from gmm_pipeline.configuration.schemas import SCHEMAS, Precision
from gmm_pipeline.configuration.targets import build_plugin
from gmm_pipeline.errors import InputError
from gmm_pipeline.inference.plugins import Plugin
from gmm_pipeline.inference.tracing import Shape, prior_density, varying
from gmm_pipeline.model.mixture import Parameters
from gmm_pipeline.model.prior_traits import traits
from gmm_pipeline.stages import fit, loading
from gmm_pipeline.stages.running import check, resolved

CONF = ROOT / "conf"
SMALL = ("steps=60", "history_every=20", "compilation_cache=null")
OWN_DATA = ("data.path=own.csv",)


def groups(command: str) -> list[str]:
    primary = yaml.safe_load((CONF / f"{command}.yaml").read_text())
    named = [name for entry in primary["defaults"] if isinstance(entry, dict) for name in entry]
    return [name for name in named if not name.startswith("override ")]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name=command, overrides=list(overrides))


@cache
def fit_with(group: str, option: str) -> DictConfig:
    """The config of a small fit with an option, composed once for all tests."""
    return composed("fit", *SMALL, f"{group}={option}", *(OWN_DATA if (group, option) == ("data", "file") else ()))


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data of one's own."""
    monkeypatch.chdir(tmp_path)
    data = np.random.default_rng(2).normal(size=80) + np.repeat([-3, 3], 40)
    (tmp_path / "own.csv").write_text("\n".join(["x", *map(repr, data.tolist())]))


EVERY = [(command, group, option) for command in SCHEMAS for group in groups(command) for option in options(group)]
OF_PLUGINS = ("data", "prior", "init", "optimizer", "schedule")
PLUGINS = [(group, option) for group in OF_PLUGINS for option in options(group)]
OTHERS = [(command, *of) for command, *of in EVERY if command != "fit" or of[0] not in OF_PLUGINS]


def test_globbing_finds_the_options():
    assert len(EVERY) > 40
    assert {group for group, _ in PLUGINS} == set(OF_PLUGINS)
    assert len(OTHERS) + len(PLUGINS) == len(EVERY)


def complete(cfg: DictConfig, command: str) -> None:
    """What is true of any config that a command accepts."""
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    check(cfg)
    assert set(cfg) == {key.name for key in fields(SCHEMAS[command])}


@pytest.mark.parametrize(("command", "group", "option"), OTHERS)
def test_every_option_composes_with_its_command(command, group, option):
    given = OWN_DATA if (group, option) == ("data", "file") else ()
    if command == "predict" and group != "data":
        given = OWN_DATA
    # Where these write to is known only while they run.
    output = ["output=draws.csv"] if command in ("simulate", "predict") else []
    complete(composed(command, f"{group}={option}", *given, *output), command)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_says_first_what_it_is(path):
    comments = [line for line in path.read_text().splitlines() if line.startswith("# ") and "@package" not in line]
    assert comments, "the help of a command shows the first comment"
    assert len(comments[0]) > 8


@pytest.mark.usefixtures("own_data")
@pytest.mark.parametrize(("group", "option"), PLUGINS)
def test_every_plugin_is_accepted_by_a_fit(group, option):
    cfg = fit_with(group, option)
    complete(cfg, "fit")
    job, again = loading.load(cfg), loading.load(cfg)
    assert np.isfinite(job.fit.data).all()
    assert hash(job.fit.plan) == hash(again.fit.plan)


@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_can_start(option):
    cfg = composed("fit", f"experiment={option}", "compilation_cache=null")
    job = loading.load(cfg)
    assert job.fit.steps == cfg.steps


# Optimizers and priors take turns, since each pair costs seconds to compile; EM is exact for some priors alone.
EM, OF_EM = ("em", "squarem"), ("flat", "dirichlet")
TURNS = [
    *((optimizer, prior) for optimizer, prior in zip(EM, OF_EM, strict=True)),
    *zip([name for name in options("optimizer") if name not in EM], cycle(options("prior"))),
]


def test_every_prior_has_a_turn():
    assert {optimizer for optimizer, _ in TURNS} == set(options("optimizer"))
    assert {prior for _, prior in TURNS} == set(options("prior"))


@pytest.mark.usefixtures("own_data", "quickly_compiled")
@pytest.mark.parametrize(("optimizer", "prior"), TURNS)
def test_every_optimizer_lowers_the_loss_and_every_prior_has_answers(optimizer, prior):
    settings = (
        f"optimizer={optimizer}",
        f"prior={prior}",
        "init=quantile",
        "init.overlap=20",
        "restarts=1",
        "search=none",
    )
    job = loading.load(composed("fit", *SMALL, "data=file", *OWN_DATA, *settings))
    (computed,) = fit.compute([job], {"kind": "threads", "workers": None, "devices": "all"})
    losses = computed.result.history.loss
    assert not computed.result.diverged
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 0.1  # nats a datum: from a start without modes to two of them
    found = answer(job, computed)
    assert all(np.isfinite(leaf).all() for leaf in found.fitted)
    numbers = [found.metrics[name] for name in ("loss", "log_likelihood", "log_prior", "bic", "gradient_norm")]
    assert np.isfinite(numbers).all()
    # The final loss is that of the optimizer, summed over the data and in the user's units.
    in_nats = len(job.fit.data) * (losses[-1] + np.log(job.units_of(job.fit).scaling.spread))
    np.testing.assert_allclose(found.metrics["loss"], in_nats, rtol=1e-5)
    learned = traits(job.fit.plan.log_prior.function).learned
    assert set(found.learned) == set(learned)
    assert all(value > 0 for value in found.learned.values())


@pytest.mark.parametrize("option", options("schedule"))
def test_every_schedule_is_a_share_of_the_full_step(option):
    factor = build_plugin(fit_with("schedule", option), "schedule")()
    factors = np.array([factor(step) for step in range(60)])
    assert (factors >= 0).all()
    assert (factors <= 1).all()
    assert factors.max() > 0.5


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("option", options("prior"))
def test_every_prior_is_a_log_density(option, n_components):
    active = np.ones(n_components, bool)
    plugin = build_plugin(fit_with("prior", option), "prior")
    log_prior = jax.jit(jax.value_and_grad(partial(prior_density, plugin, active=active, setting=None)))
    draws = np.asarray(jax.random.normal(jax.random.PRNGKey(0), (3, n_components)))
    value, slope = log_prior(Parameters(*draws))
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert all(np.isfinite(leaf).all() for leaf in (value, *slope))
    reversed_, _ = log_prior(Parameters(*draws[:, ::-1]))
    np.testing.assert_allclose(reversed_, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("option", options("prior"))
def test_every_prior_can_be_batched_over_its_floats_and_leave_out_components(option):
    log_prior = build_plugin(fit_with("prior", option), "prior")
    assert set(varying("prior", log_prior, Shape(2, 10, "float32"))) == set(log_prior.numbers(float))
    density = jax.jit(partial(prior_density, log_prior, setting=None))
    draws = np.asarray(jax.random.normal(jax.random.PRNGKey(0), (3, 2)))
    padded = np.hstack([draws, np.tile(np.array([7.0, -7.0], np.float32), (3, 1))])
    own = density(Parameters(*draws), active=np.ones(2, bool))
    np.testing.assert_allclose(density(Parameters(*padded), active=np.arange(4) < 2), own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("option", options("optimizer"))
def test_every_optimizer_can_be_batched_over_its_floats(option):
    optimizer = build_plugin(fit_with("optimizer", option), "optimizer")
    assert set(varying("optimizer", optimizer, Shape(2, 10, "float32"))) == set(optimizer.numbers(float))


OPTAXS = {
    "constant": optax.constant_schedule,
    "cosine": optax.cosine_decay_schedule,
    "exponential": optax.exponential_decay,
    "linear": optax.linear_schedule,
}


@pytest.mark.parametrize("option", options("schedule"))
def test_every_schedule_is_optaxs_and_shares_a_program_between_numbers_of_steps(option):
    schedule = build_plugin(composed("fit", f"schedule={option}", "steps=70"), "schedule")
    assert set(varying("schedule", schedule, Shape(2, 10, "float32"))) == set(schedule.numbers(float, int))
    ours, expected = schedule(), OPTAXS[option](**dict(schedule.hyperparameters))
    steps = [0, 1, 35, 69, 70, 90]
    beyond = steps if option != "exponential" else steps[:-1]  # nobody steps on after the last
    np.testing.assert_allclose(
        [ours(step) for step in beyond], [expected(step) for step in beyond], rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("n_components", [1, 2, 5])
@pytest.mark.parametrize("option", options("init"))
def test_every_init_is_finite_and_depends_on_the_key(option, n_components):
    init = build_plugin(fit_with("init", option), "init")
    data = jnp.asarray(np.random.default_rng(4).normal(size=50), jnp.float32)
    starts = [init(jax.random.PRNGKey(seed), data, jnp.ones(50, jnp.float32), n_components) for seed in (0, 0, 1)]
    for first, again in zip(*starts[:2], strict=True):
        assert first.shape == (n_components,)
        assert first.dtype == jnp.float32
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(first, again)
    assert not all(np.array_equal(a, b) for a, b in zip(starts[0], starts[2], strict=True))


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_key_has_a_meaning_and_a_value_in_conf_alone(command):
    primary = yaml.safe_load((CONF / f"{command}.yaml").read_text())
    keys = {key.name: key for key in fields(SCHEMAS[command])}
    assert set(keys) == (set(primary) - {"defaults", "hydra"}) | (set(groups(command)) - {"experiment"})
    for name, key in keys.items():
        assert len(key.metadata["meaning"]) > 10, name
        assert key.default == MISSING, f"{name} has a value in the schema, where conf/ gives it one"


def keys_below(schema: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    for key in checks._keys_of(schema):
        if is_dataclass(key.kind):
            yield from keys_below(key.kind, f"{within}{key.name}.")
        else:
            yield f"{within}{key.name}", key


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_number_has_a_range_and_every_key_without_a_type_says_what_it_takes(command):
    unlimited = [name for name, key in keys_below(SCHEMAS[command]) if key.kind in (int, float, Any) and not key.limit]
    assert unlimited == []


WRONG = (
    None,
    {},
    [],
    [[]],
    {"a": 1},
    float("nan"),
    float("-inf"),
    10**400,
    -1,
    "",
    "a\0b",
    "no such word",
    [{}],
    object(),
)


@pytest.mark.parametrize("command", SCHEMAS)
def test_no_value_of_another_kind_or_beyond_its_range_passes_and_all_are_refused_by_key(command):
    """As an interpolation puts them there, which OmegaConf does not check."""
    given = ["data.path=own.csv"] if command == "predict" else []
    output = ["output=draws.csv"] if command in ("simulate", "predict") else []
    content = resolved(composed(command, *given, *output))
    for name, _ in keys_below(SCHEMAS[command]):
        *parents, last = name.split(".")
        node = reduce(lambda node, part: node[part], parents, content)
        before, refused = node[last], 0
        for value in WRONG:
            node[last] = value
            try:
                checks.check_values(SCHEMAS[command], content)
            except InputError as error:
                refused += 1
                assert error.where.startswith(name)
        node[last] = before
        # A text takes any word, a switch nothing but its two values, and a key that may be null takes that.
        assert refused >= len(WRONG) - 4, name
    checks.check_values(SCHEMAS[command], content)


@pytest.mark.parametrize("group", ["figures", "animation", "tracking"])
def test_none_differs_from_the_default_in_one_key(group):
    default = {"figures": "default", "animation": "default", "tracking": "mlflow"}[group]
    on, off = (composed("fit", f"{group}={option}")[group] for option in (default, "none"))
    assert set(on) == set(off) == {key.name for key in fields(schemas.SCHEMAS["fit"].__annotations__[group])}
    different = [name for name in on if on[name] != off[name]]
    assert different == (["uri"] if group == "tracking" else ["formats"])


def test_formats_that_are_accepted_are_those_that_can_be_written():
    from gmm_pipeline.pictures.pages import METADATA

    assert tuple(METADATA) == PICTURE_FORMATS["figures"]


@pytest.mark.parametrize(
    ("overrides", "schedule"),
    [
        (["optimizer=adam"], "cosine"),
        (["optimizer=lbfgs"], "constant"),
        (["optimizer=lbfgs", "schedule=cosine"], "cosine"),
        (["schedule=linear", "optimizer=lbfgs"], "linear"),
        (["experiment=notebook"], "constant"),
        (["experiment=notebook", "schedule=exponential"], "exponential"),
    ],
)
def test_lbfgs_takes_whole_steps_unless_told_otherwise(overrides, schedule):
    target = yaml.safe_load((CONF / "schedule" / f"{schedule}.yaml").read_text())["_target_"]
    assert composed("fit", *overrides).schedule._target_ == target


def test_history_holds_at_most_two_hundred_blocks():
    for steps, every in ((1, 1), (200, 1), (201, 2), (2000, 10), (1000001, 5001)):
        assert composed("fit", f"steps={steps}").history_every == every
    assert composed("fit", "steps=2000", "history_every=7").history_every == 7


def plugin_of(**node: object) -> Plugin:
    return build_plugin(OmegaConf.create({"prior": node, "plugins": {"allow": ["test_config"]}}), "prior")


def scaled(parameters: Parameters, *, by: tuple[float, ...]) -> float:
    return float(sum(by)) * float(parameters.component_mus.sum())


def test_plugin_is_the_function_with_its_hyperparameters():
    plugin = plugin_of(_target_="test_config.scaled", by=[2.0, 3.0])
    assert plugin(Parameters(*np.ones((3, 4)))) == 20.0
    assert plugin == plugin_of(_target_="test_config.scaled", by=[2.0, 3.0])
    assert plugin != plugin_of(_target_="test_config.scaled", by=[2.0, 4.0])
    assert len({plugin, plugin_of(_target_="test_config.scaled", by=[2.0, 3.0])}) == 1


@pytest.mark.parametrize(
    ("node", "where", "says"),
    [
        ({"_target_": "no.such.place"}, "prior._target_", "no.such.place"),
        ({"_target_": "gmm_pipeline.model.priors.absent"}, "prior._target_", "can be imported"),
        ({"_target_": "test_config.absent"}, "prior._target_", "test_config.absent"),
        ({"_target_": "test_config.scaled", "bye": [1.0]}, "prior.bye", "Did you mean by?"),
        ({"by": [1.0]}, "prior", "dirichlet, dirichlet_process, flat"),
    ],
)
def test_plugin_that_cannot_be_built_names_its_key(node, where, says):
    with pytest.raises(InputError) as raised:
        plugin_of(**node)
    assert raised.value.where == where
    assert says in str(raised.value)


def test_precision_and_random_bits_are_set_as_asked():
    config.configure_jax(threefry_partitionable=False, precision=Precision.float64, compilation_cache=None)
    assert jnp.ones(()).dtype == jnp.float64
    notebook = jax.random.normal(jax.random.PRNGKey(7), (3,), jnp.float32)
    config.configure_jax(threefry_partitionable=True, precision=Precision.float32, compilation_cache=None)
    assert jnp.ones(()).dtype == jnp.float32
    assert not np.array_equal(jax.random.normal(jax.random.PRNGKey(7), (3,), jnp.float32), notebook)
