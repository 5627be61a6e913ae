"""The picture of a recovery experiment."""

import numpy as np
from papers import PAPER
from test_sweep_figures import texts

from gmm_pipeline.analysis.recovery_shares import Line
from gmm_pipeline.pictures import recovery_figure
from gmm_pipeline.pictures.recovery_figure import draw_recovery


def line(shares, label="overlap 0.1", overlap=0.1):
    numbers = np.arange(1, len(shares) + 1) * 100
    return Line(label, overlap, numbers, np.array([round(50 * share) for share in shares]), np.full(len(shares), 50))


def test_picture_shows_shares_and_what_they_mean():
    figure = PAPER.on_axes(draw_recovery, [line([0.2, 1.0]), line([0.0, 0.5], "overlap 0.4", 0.4)])
    curves = [drawn for drawn in figure.axes[0].lines if drawn.get_marker() not in ("", "None")]
    assert [np.asarray(drawn.get_ydata()).tolist() for drawn in curves] == [[0.2, 1.0], [0.0, 0.5]]
    np.testing.assert_allclose(np.asarray(curves[0].get_xdata()), [100.0, 200.0], rtol=0.02)
    said = texts(figure)
    assert "overlap 0.1:\n90 % from 200 observations" in said and "overlap 0.4:\nnever 90 %" in said
    assert "within 0.5 true scales" in said
    assert "the first 8 of 9 settings" in texts(PAPER.on_axes(draw_recovery, [line([0.2, 1.0])] * 9))


def test_shares_of_one_number_of_data_tell_nothing():
    assert recovery_figure.is_informative([line([0.2, 1.0])])
    assert not recovery_figure.is_informative([line([0.2])])
