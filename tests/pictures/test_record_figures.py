"""Which pictures a record has, by its columns."""

import made_records
import pytest
from papers import PAPER
from several_columns import draws, history_towards, mixture

from gmm_pipeline.pictures.record_figures import pictures_of
from gmm_pipeline.records import reading

ALWAYS = {"fitted_density", "loss", "parameter_traces", "uncertainty", "weights"}
OF_COLUMNS = {"mahalanobis", "marginals"}
OF_MORE = {"pairs", "parallel_coordinates"}


@pytest.mark.parametrize(
    ("d", "expected"), [(1, ALWAYS | {"classification"}), (2, ALWAYS | OF_COLUMNS), (3, ALWAYS | OF_COLUMNS | OF_MORE)]
)
def test_a_record_has_the_pictures_of_its_columns(tmp_path, d, expected):
    run = reading.read(made_records.write_run(tmp_path / "run"))._replace(restarts=[])
    if d > 1:
        end = mixture(d)
        run = run._replace(
            fitted=end,
            truth=end,
            data=draws(end, 100)[0],
            history=history_towards(end),
            asymptotic=None,
            data_info={**run.data_info, "columns": list("abc"[:d])},
            config={**run.config, "level": 0.95},
        )
    assert {name for name, one in pictures_of(run).items() if one.on(PAPER).axes} == expected


def test_a_fit_that_is_not_finite_leaves_the_pictures_that_need_none_of_it(tmp_path):
    end = mixture(3)
    run = reading.read(made_records.write_run(tmp_path / "run"))._replace(restarts=[], asymptotic=None, truth=None)
    nothing = type(end)(*(leaf * float("nan") for leaf in end))
    history = history_towards(end)
    history = history._replace(mixtures=type(end)(*(leaf * float("nan") for leaf in history.mixtures)))
    run = run._replace(fitted=nothing, data=draws(end, 100)[0], history=history)
    assert set(pictures_of(run)) == ALWAYS - {"fitted_density", "uncertainty"}
