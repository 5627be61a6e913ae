"""A quick copy is what OmegaConf's own deep copy is, to the last private field; quick YAML has the same bytes."""

import copy
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from gmm_pipeline.configuration import config
from gmm_pipeline.execution.quick_configs import QuickConfig, quick, quickened


def composed() -> DictConfig:
    with initialize_config_dir(str(config.config_directory()), version_base="1.3"):
        return compose("fit", ["n_components=3"], return_hydra_config=True)


def anatomy(node: Any) -> Any:
    """Everything that a node is made of, but for its class and its parent."""
    fields = {key: value for key, value in vars(node).items() if key not in ("_parent", "_content", "_metadata")}
    content = vars(node).get("_content")
    if isinstance(content, dict):
        content = {key: anatomy(child) for key, child in content.items()}
    elif isinstance(content, list):
        content = [anatomy(child) for child in content]
    return fields, vars(node._metadata), content


def test_a_quick_copy_has_every_field_of_a_deep_copy():
    cfg = composed()
    assert cfg.history_every > 0  # fills the cache of resolved values
    original, ours = copy.deepcopy(cfg), copy.deepcopy(quick(cfg))
    assert isinstance(ours, QuickConfig)
    assert isinstance(ours.hydra, QuickConfig)
    assert anatomy(ours) == anatomy(original)
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(original)


def test_a_quick_copy_shares_nothing_that_can_be_changed():
    cfg = quick(composed())
    before = OmegaConf.to_yaml(cfg)
    ours = copy.deepcopy(cfg)
    ours.n_components = 7
    ours.data.locs.append(3.0)
    ours.hydra.runtime.choices.data = "another"
    OmegaConf.set_readonly(ours.optimizer, True)
    assert OmegaConf.to_yaml(cfg) == before
    assert not OmegaConf.is_readonly(cfg.optimizer)
    assert ours.data.locs._get_parent() is ours.data
    assert ours.data._get_parent() is ours
    assert cfg.data._get_parent() is cfg


@pytest.mark.parametrize("command", ["fit", "simulate", "animate", "ui"])
def test_quick_yaml_has_the_bytes_of_omegaconf(command):
    with initialize_config_dir(str(config.config_directory()), version_base="1.3"):
        cfg = compose(command, return_hydra_config=True)
    with quickened():
        ours = OmegaConf.to_yaml(cfg)
    assert ours == OmegaConf.to_yaml(cfg)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200)
NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, NODES, max_size=5))
def test_quick_yaml_reads_back_as_what_it_was(content):
    cfg = OmegaConf.create({"key": {name: value for name, value in content.items() if "$" not in repr(value)}})
    with quickened():
        ours = OmegaConf.to_yaml(cfg)
    assert OmegaConf.create(ours) == OmegaConf.create(OmegaConf.to_yaml(cfg))


def test_a_kept_parse_leads_to_the_values_of_the_moment():
    with quickened():
        for value in (1, 2):
            assert OmegaConf.create({"key": "${other} times", "other": value}).key == f"{value} times"
        first, second = composed(), composed()
        second.steps = 7000
        assert (first.history_every, second.history_every) == (10, 35)
