"""A page as one file: templates that escape all text, and everything that the browser needs written into them.

Nothing is fetched: the page says so in a content security policy, which a browser enforces. Plotly's script is most of
its five megabytes; the price of plots that are interactive wherever the file is opened. The same content gives the
same bytes: no creation time, no random ids.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmm_pipeline.records import artifacts
from gmm_pipeline.records.files import leaves, opened
from gmm_pipeline.report.plotting import Chart

FOLDER = Path(__file__).parent
SCRIPTS = ("page.js", "table.js", "explorer.js")
PICTURE_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
"""If a picture exists in several formats, the first of these is embedded."""
ANIMATION_TYPES = {".mp4": "video/mp4", ".gif": "image/gif"}
PICTURES = {
    "fitted_density": "Histogram of the data with the fitted mixture, its components and, where known, the truth",
    "classification": "Histogram of the data in the colours of the most probable components, and their densities",
    "uncertainty": "How uncertain the most probable component of each observation is",
    "pairs": "Each pair of columns with the ellipses of the components, and each column with their densities",
    "parallel_coordinates": "Locs of the components column by column, with a bar of one standard deviation",
    "loss": "Loss above its least over the optimizer's steps",
    "parameter_traces": "Weights, locs and scales of the components over the optimizer's steps",
    "weights": "Weight of each component, and of the noise if there is any, with its interval",
    "mahalanobis": "Squared distances of the data from each component against quantiles of chi-square",
    "marginals": "Empirical less fitted cumulative distribution function of each column",
    "restarts": "How far below the answer each start ended",
    "bootstrap": "Bootstrap replicates of each parameter, with both kinds of intervals",
    "selection": "Selection criterion of each candidate over the number of components",
    "information_criterion": "Information criterion of each run over the number of components",
    "final_loss": "Final losses above the best, sorted, for each setting",
    "fitted_parameters": "Fitted parameters of the runs",
    "loss_curves": "Loss above the best over the optimizer's steps: median and quartiles of the runs with each setting",
    "recovery": "How often the true mixture was recovered, over the number of observations",
}
"""What each picture shows; any other picture is described by its name."""
PICTURES_OF_COLUMNS = {
    **PICTURES,
    "fitted_density": "Data on two columns, or on the two directions that separate the components best, with ellipses",
    "parameter_traces": "Weights, distances of the locs from their ends, and sizes of the components over the steps",
}
"""The same for data of several columns."""


class Picture(NamedTuple):
    """An embedded picture or animation."""

    name: str
    alt: str
    kind: str
    """MIME type."""
    uri: str


def render(template: str, *, charts: Mapping[str, Chart], **content: Any) -> str:
    """A whole page.

    Args:
        template: name of its file.
        charts: plots by the name that the template gives them.
        **content: what the template asks for.
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["json"] = lambda value: Markup(script_json(value))  # noqa: S704 - it has no < left
    scripts = [get_plotlyjs(), *((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)]
    return environment.get_template(template).render(
        charts=charts,
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - a file of this package
        scripts=[Markup(script.replace("</script", r"<\/script")) for script in scripts],  # noqa: S704 - as above
        **content,
    )


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: no character in it ends the element or opens a comment.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def pictures(folder: Path, described: Mapping[str, str] = PICTURES) -> list[Picture]:
    """The pictures of a record or a sweep, once each, those with a description first.

    Args:
        folder: of the record or the sweep.
        described: what each picture shows.
    """
    names = list(described)
    files: dict[str, Path] = {}
    for suffix in reversed(PICTURE_TYPES):
        files |= {path.stem: path for path in sorted((folder / artifacts.FIGURES).glob(f"*{suffix}"))}
    order = sorted(files, key=lambda name: (names.index(name) if name in names else len(names), name))
    return [
        Picture(name.replace("_", " "), described.get(name, name.replace("_", " ")), kind, data_uri(files[name], kind))
        for name in order
        for kind in [PICTURE_TYPES[files[name].suffix]]
    ]


def animation(folder: Path) -> Picture | None:
    """The animation in a folder, preferably in the smaller format, which can be paused."""
    for suffix, kind in ANIMATION_TYPES.items():
        for path in sorted(folder.glob(f"*{suffix}")):
            return Picture(
                path.stem, "The mixture over the optimizer's steps, above the data", kind, data_uri(path, kind)
            )
    return None


def data_uri(path: Path, kind: str) -> str:
    """A file as a `data:` address that contains it.

    Args:
        path: the file.
        kind: its MIME type.
    """
    with opened(path) as stream:
        return f"data:{kind};base64,{base64.b64encode(stream.read()).decode()}"


def flattened(content: Mapping[str, Any], left_out: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The leaves of a mapping as dotted keys and text, in its own order.

    Args:
        content: what JSON can hold.
        left_out: keys of the first level to leave out.
    """
    shown = {key: value for key, value in content.items() if key not in left_out}
    return [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in leaves(shown)
        if key
    ]
