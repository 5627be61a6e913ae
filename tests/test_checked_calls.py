"""Shapes are checked as `checked_calls` says, in the tests of everything else."""

import jaxtyping
import numpy as np
import pytest
from checked_calls import MOST_CHECKED

from gmm_pipeline.analysis import curves


def test_the_first_calls_in_each_test_are_checked():
    for _ in range(MOST_CHECKED):
        with pytest.raises(jaxtyping.TypeCheckError, match="loss_excess"):
            curves.loss_excess(np.zeros((2, 2)))
    with pytest.raises(TypeError, match="0-dimensional"):  # in words of what it calls
        curves.loss_excess(np.zeros((2, 2)))


def test_and_in_the_next_test_again():
    with pytest.raises(jaxtyping.TypeCheckError, match="loss_excess"):
        curves.loss_excess(np.zeros((2, 2)))
