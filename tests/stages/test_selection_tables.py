"""The table of a selection on the terminal: rows of few candidates, a map of many models."""

import pytest
from rich.cells import cell_len

from gmm_pipeline.model.covariances import MODELS, of_one_component
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.selection_tables import model_map, selection_tables


def compared(largest: int, models: tuple[str, ...] = MODELS, size: float = 1000.0) -> dict[str, list]:
    """Candidates whose BIC is size + 10 |K − 3| + the place of the model; VVV is barred from 3 components on."""
    pairs = [
        (number, model)
        for number in range(1, largest + 1)
        for model in (dict.fromkeys(map(of_one_component, models)) if number == 1 else models)
    ]
    bic = [size + 10.0 * abs(number - 3) + MODELS.index(model) for number, model in pairs]
    barred = ["degenerate" if model == "VVV" and number >= 3 else "" for number, model in pairs]
    return {
        "n_components": [number for number, _ in pairs],
        "covariance": [model for _, model in pairs],
        "chosen": [pair == (3, "EII") for pair in pairs],
        "log_likelihood": [-0.5 * value for value in bic],
        "bic": bic,
        "aic": bic,
        "barred": barred,
        "converged": [True] * len(pairs),
    }


def said(columns: dict[str, list], criterion: str = "bic") -> list[str]:
    def print_all() -> None:
        for one in selection_tables(columns, criterion):
            if isinstance(one, str):
                terminal.say(one)
            else:
                terminal.show(one)

    return terminal.printed(print_all).splitlines()


@pytest.mark.parametrize("size", [1000.0, 1e5])
def test_a_map_has_each_model_and_number_within_80_columns(size):
    lines = said(compared(9, size=size))
    assert lines[0].startswith("BIC by covariance model and number of components")
    assert max(map(cell_len, lines)) <= 80
    header, *rows = (line.split() for line in lines[1 : 2 + len(MODELS)])
    assert header == [str(number) for number in range(1, 10)]
    assert [row[0] for row in rows] == list(MODELS)
    assert rows[0][3] == f"*{size:.{1 if size < 1e5 else 0}f}"
    assert rows[-1][3:] == ["×"] * 7
    # One component of VVV is one of EEE.
    assert rows[-1][1] == rows[MODELS.index("EEE")][1]


def test_the_best_that_can_be_chosen_have_rows_below_the_map():
    lines = said(compared(9))
    below = [line.replace("*", " ").split()[:2] for line in lines[-5:]]
    assert below == [["3", model] for model in MODELS[:5]]
    assert lines[-5].startswith("*")


def test_few_candidates_have_a_row_each():
    lines = said(compared(2, ("EEE", "VVV")))
    assert [line.replace("*", " ").split()[:2] for line in lines[1:]] == [["1", "EEE"], ["2", "EEE"], ["2", "VVV"]]


def test_a_model_that_was_not_compared_has_an_empty_cell():
    columns = compared(2, ("EEE", "VVV"))
    columns["n_components"][-1] = 3
    table = model_map(columns, "bic")
    assert {column.header: column.cells for column in table.columns}["2"] == ["1016.0", ""]
