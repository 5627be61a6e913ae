"""Which functions a config may name: those that are defined where its group has them, and those that a user allows."""

import functools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import optax
import pytest
import yaml
from conftest import ROOT, Quick
from omegaconf import OmegaConf

from gmm_pipeline.configuration import config_files, targets
from gmm_pipeline.configuration.targets import DEFINED_IN, build_dataset, build_plugin, function_of
from gmm_pipeline.errors import InputError

STRANGERS = {
    "data": ["shutil.rmtree", "os.remove", "optax.adam", "gmm_pipeline.records.files.Path.unlink"],
    "prior": [
        "gmm_pipeline.model.priors.jax.numpy.load",
        "gmm_pipeline.records.files.shutil.rmtree",
        "gmm_pipeline.stages.running.remove_record",
        "gmm_pipeline.model.priors.flat.__globals__.clear",
        "builtins.eval",
    ],
    "init": ["subprocess.run", "gmm_pipeline.model.inits.np.load", "gmm_pipeline.model.inits.generator_of.__call__"],
    "optimizer": [
        "jax.numpy.load",
        "jax.profiler.start_trace",
        "optax.GradientTransformation",
        "optax._src.base.jax.jit",
    ],
    "schedule": ["jax.numpy.load", "jax.profiler.save_device_memory_profile", "os.path.join", "optax"],
}
"""Functions that a config of a stranger must not reach; many lie in modules that others import."""


def test_every_option_of_conf_is_defined_where_it_may_be():
    for group in DEFINED_IN:
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert callable(function_of(group, yaml.safe_load(path.read_text())["_target_"]))


@pytest.mark.parametrize(("group", "target"), [(group, one) for group, some in STRANGERS.items() for one in some])
def test_what_is_defined_elsewhere_is_not_reached(group, target):
    with pytest.raises(InputError, match=rf"^{group}\._target_: "):
        function_of(group, target)


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("schedule", "jax._src.test_util.unittest.__main__.x"),
        ("schedule", "jax.collect_profile.x"),
        ("init", "gmm_pipeline.model.inits.np.f2py.__main__.x"),
        ("optimizer", "optax.__main__.x"),
    ],
)
def test_a_module_that_a_trusted_one_leads_to_is_not_imported(group, target):
    before = set(sys.modules)
    with pytest.raises(InputError, match=rf"^{group}\._target_: expected the dotted name of a function"):
        function_of(group, target)
    assert not {name for name in set(sys.modules) - before if name.endswith("__main__") or "collect_profile" in name}


def test_a_module_that_no_one_allowed_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\ndef f(parameters): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"plugins\.allow=\[stranger\]"):
        function_of("prior", "stranger.f")
    assert not (tmp_path / "imported").exists()
    assert function_of("prior", "stranger.f", ["stranger"]).__name__ == "f"
    assert (tmp_path / "imported").exists()


def test_what_an_allowed_module_imports_is_not_allowed_with_it(monkeypatch):
    module = ModuleType("mine")
    vars(module).update({"copytree": subprocess.run, "ours": functools.partial(optax.adam, b1=0.5)})
    monkeypatch.setitem(sys.modules, "mine", module)
    with pytest.raises(InputError, match="which is defined in subprocess"):
        function_of("prior", "mine.copytree", ["mine"])
    assert function_of("optimizer", "mine.ours", ["mine"]) is module.ours


def test_an_entry_point_of_an_installed_package_allows_it(tmp_path, monkeypatch):
    (tmp_path / "offered.py").write_text("def f(parameters): ...\n")
    about = tmp_path / "offered-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: offered\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{targets.ENTRY_POINTS}]\nmine = offered:f\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    targets._entry_points.cache_clear()
    assert function_of("prior", "offered.f").__name__ == "f"
    targets._entry_points.cache_clear()


@pytest.mark.parametrize("value", [{"a": 1}, [{"a": 1}], float("nan"), 2**70, "a\0b", [[[[[[[1]]]]]]]])
def test_hyperparameters_are_numbers_texts_and_lists_of_them(value):
    node = {"_target_": "gmm_pipeline.model.priors.dirichlet", "concentration": value}
    with pytest.raises(InputError, match=r"^prior\.concentration: expected a finite number"):
        build_plugin(OmegaConf.create({"prior": node}), "prior")


@pytest.mark.parametrize("name", ["_args_", "_partial_", "_convert_", "_recursive_"])
def test_what_is_passed_by_position_is_refused_and_not_ignored(name):
    node = {"_target_": "gmm_pipeline.model.priors.flat", name: [1]}
    with pytest.raises(InputError, match=rf"^prior\.{name}: "):
        build_plugin(OmegaConf.create({"prior": node}), "prior")


def test_data_are_loaded_by_functions_that_load_data(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    node = {"_target_": "shutil.rmtree", "path": str(kept)}
    with pytest.raises(InputError, match=r"^data\._target_: "):
        build_dataset(OmegaConf.create({"data": node}))
    assert kept.is_dir()


def test_a_record_allows_nothing(tmp_path):
    content = {"plugins": {"allow": ["shutil"]}, "prior": {"_target_": "shutil.rmtree", "path": "x"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert "plugins" not in config_files.read(tmp_path / "config.yaml", "fit")


def test_neither_predict_nor_a_file_of_values_runs_the_code_of_a_stranger(quick: Quick, tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "stranger.yaml").write_text(
        yaml.safe_dump({"plugins": {"allow": ["shutil"]}, "data": {"_target_": "shutil.rmtree", "path": "kept"}})
    )
    ended = quick("fit", "config=stranger.yaml", "tracking=none")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: data._target_: ")
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize("name", ["nonesuch", "nonesuch.priors", "../outside", ""])
def test_a_package_that_is_not_there_cannot_be_allowed(name):
    with pytest.raises(InputError, match=r"^plugins\.allow: expected packages or modules that can be imported"):
        targets.check_allowed([name])
    targets.check_allowed(["optax", "numpy.linalg"])
