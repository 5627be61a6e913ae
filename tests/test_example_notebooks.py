"""The example notebooks run from top to bottom, and what is stored in them is what they show."""

import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from conftest import hurried
from nbformat.v4 import new_code_cell, new_notebook
from notebooks import EXAMPLES, executed

PICTURE, RICH = "image/png", ("image/png", "text/html", "text/plain")
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
LARGEST = 400_000  # bytes, with outputs
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# How many steps a fit takes, and which other optima a search has seen, may differ between processors; pictures and
# films are compared by their number alone.
NOT_COMPARED = re.compile(r"(?<=in )\d+(?= steps)|; the next best optimum is [^<\n]* nats lower|(?<=base64,)[^\"]+")


def shown(cell: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """What a reader sees of each output: its kind and text."""
    seen: list[tuple[str, str]] = []
    for output in cell.outputs:
        texts = {output["name"]: output["text"]} if output.output_type == "stream" else output["data"]
        kind = next(kind for kind in (*RICH, *texts) if kind in texts)
        seen.append((kind, "" if kind == PICTURE else NOT_COMPARED.sub("", texts[kind])))
    return seen


def alike(text: str, other: str) -> bool:
    """Whether two texts have the same words, and numbers within one of each other in their last digits."""
    if [part.split() for part in NUMBER.split(text)] != [part.split() for part in NUMBER.split(other)]:
        return False
    pairs = zip(NUMBER.findall(text), NUMBER.findall(other), strict=True)
    return all(abs(float(a) - float(b)) < 1.5 * 10.0 ** -len(a.partition(".")[2]) for a, b in pairs)


def test_the_notebooks_show_what_is_stored(tmp_path: Path, compilation_cache: Path) -> None:
    # In one kernel, which imports once; each begins without the names of the one before.
    stored = [cell for path in NOTEBOOKS for cell in (new_code_cell("%reset -f"), *nbformat.read(path, 4).cells)]
    run = executed(new_notebook(cells=deepcopy(stored)), tmp_path, hurried(compilation_cache))
    for before, after in zip(stored, run.cells, strict=True):
        if after.cell_type == "code":
            was, now = shown(before), shown(after)
            same = [kind for kind, _ in was] == [kind for kind, _ in now]
            same = same and all(alike(a, b) for (_, a), (_, b) in zip(was, now, strict=True))
            assert same, f"python tests/notebooks.py stores outputs anew:\n{after.source}\nstored {was}\nnow {now}"


def test_a_changed_digit_or_word_is_noticed() -> None:
    assert alike("BIC 2090.427 of 4", "BIC  2090.428 of 4")
    assert not alike("BIC 2090.427", "BIC 2090.429")
    assert not alike("BIC 2090.427", "AIC 2090.427")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_small_and_without_traces_of_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert not [cell for cell in notebook.cells if cell.metadata]
    assert set(notebook.metadata.kernelspec) == {"display_name", "language", "name"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert path.stat().st_size < LARGEST
