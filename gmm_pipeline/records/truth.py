"""The mixture that data were drawn from, if it is known: its components in order, for the columns that are read."""

from pathlib import Path

import numpy as np

from gmm_pipeline.errors import InputError
from gmm_pipeline.model.natural import AnyMixture, Mixture, MultivariateMixture, order_of, taken
from gmm_pipeline.records.artifacts import mixture_from_json
from gmm_pipeline.records.data_checks import as_multivariate, check_mixture
from gmm_pipeline.records.json_files import read_json


def ordered(mixture: AnyMixture) -> AnyMixture:
    """A mixture with normalised weights, whose components are in the order of `order_of`.

    Args:
        mixture: in float64, its weights positive, of any sum.
    """
    in_order = taken(mixture, order_of(mixture))
    return in_order._replace(weights=in_order.weights / in_order.weights.sum())


def read_truth(path: Path, columns: tuple[str, ...]) -> AnyMixture:
    """The mixture in a JSON file, as `simulate` writes it; if it has further columns, its marginal for those read.

    Args:
        path: of the file.
        columns: that are read.

    Raises:
        InputError: it cannot be read, is no mixture, or is one of other columns.
    """
    try:
        content = read_json(path)
        several = "covariances" in content
        fields = [content[name] for name in MultivariateMixture._fields] if several else mixture_from_json(content)
        names = [str(name) for name in content.get("columns", [])] if several else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "data.truth",
            expected="a JSON file with lists weights, locs and scales, or covariances for several columns",
            came=f"{path} ({type(error).__name__}: {error})",
            remedy="`simulate` writes such a file beside its data.",
        ) from error
    if several:
        mixture = as_multivariate(str(path), *fields)
        n_columns = mixture.locs.shape[1]
        if len(names) == n_columns and set(columns) <= set(names):
            mixture = _marginal(mixture, [names.index(name) for name in columns])
            n_columns = len(columns)
    else:
        check_mixture(str(path), *(values.tolist() for values in fields))
        mixture, n_columns = Mixture(*fields), 1
    if n_columns != len(columns):
        raise InputError(
            "data.truth",
            expected=f"a mixture of {', '.join(columns) if len(columns) > 1 else 'one column'}",
            came=f"{path}, a mixture of {', '.join(names) or f'{n_columns} column' + 's' * (n_columns > 1)}",
            remedy='Name the columns of the mixture in the file, as in "columns": ["a", "b"].',
        )
    return ordered(mixture)


def _marginal(mixture: MultivariateMixture, places: list[int]) -> AnyMixture:
    """The mixture of some of its columns: normal components have normal marginals."""
    locs, covariances = mixture.locs[:, places], mixture.covariances[:, places][:, :, places]
    if len(places) > 1:
        return MultivariateMixture(mixture.weights, locs, covariances)
    return Mixture(mixture.weights, locs[:, 0], np.sqrt(covariances[:, 0, 0]))
