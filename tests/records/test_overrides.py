"""Overrides as they are written for Hydra."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gmm_pipeline.records.overrides import hydra_list, hydra_override

ODD = st.text(st.sampled_from("aé\\\"'${}[](),:=~+- \t%#;|.0e1nuNl@*?&<>`!^"), max_size=8)


def read(word: str) -> list[str]:
    """The values of an override, as the config has them."""
    (override,) = OverridesParser.create().parse_overrides([word])
    if override.is_sweep_override():
        return [text for value in override.sweep_string_iterator() for text in read(f"key={value}")]
    return [OmegaConf.create({"key": override.value()}).key]


@given(ODD | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8))
def test_any_text_comes_back(text):
    assert read(hydra_override("key", text)) == [text]


@given(st.lists(ODD, min_size=2, max_size=4))
def test_several_texts_are_a_sweep(texts):
    assert read(hydra_override("key", *texts)) == texts


@given(st.lists(ODD, max_size=4))
def test_a_list_of_texts_comes_back(texts):
    assert read(hydra_list("key", texts)) == [texts]


@pytest.mark.parametrize("text", ["waiting.csv", "outputs/fit/2026-11-23_10-00-00-ab12cd", "/data/a-b.npy"])
def test_what_needs_no_quotes_has_none(text):
    assert hydra_override("key", text) == f"key={text}"


@pytest.mark.parametrize("text", ["null", "True", "NaN", "1e3", "007", ""])
def test_a_text_that_looks_like_something_else_stays_one(text):
    assert read(hydra_override("key", text)) == [text]
