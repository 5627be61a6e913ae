import pytest

from gmm_pipeline.analysis.estimates import Asked
from gmm_pipeline.stages.fit_checks import without_effect

ONE = Asked((2,), (False,), (), "bic", 0, 0, 0, 0.95, factors=1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"criterion": "icl"}, "criterion=icl has no effect"),
        ({"criterion": "icl", "numbers": (1, 2)}, None),
        ({"factors": 2}, "factors=2 has no effect without covariance=factor"),
        ({"factors": 2, "covariances": ("VVV",)}, "factors=2 has no effect without covariance=factor"),
        ({"factors": 2, "covariances": ("factor",)}, None),
    ],
)
def test_a_key_that_was_set_and_has_no_effect_is_named(changes, says):
    said = without_effect(ONE._replace(**changes))
    assert len(said) == (says is not None)
    assert all(one.startswith(str(says)) for one in said)
