r"""Formulas as drawings inside the page: `\( \)` and `\[ \]`, as Arithmatex leaves them, become SVG.

Matplotlib sets them, so that a page loads no script, no font and nothing from elsewhere; they take the colour of the
text around them. The price: no more of TeX than Matplotlib knows, and no text to select; a screen reader gets the
source.
"""

import functools
import html
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextToPath
from mkdocs.exceptions import PluginError

SIZE = TextToPath.FONT_SCALE
FRACTION, DISPLAYED = r"\frac", r"\dfrac"
ARITHMATEX = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
COMMANDS = {
    Path.MOVETO: ("M", 1),
    Path.LINETO: ("L", 1),
    Path.CURVE3: ("Q", 2),
    Path.CURVE4: ("C", 3),
    Path.CLOSEPOLY: ("Z", 0),
}


@functools.cache
def drawn(source: str) -> str:
    """A formula as SVG, as high as the text around it; its baseline is the text's.

    Raises:
        PluginError: Matplotlib does not know what it says.
    """
    setter = TextToPath()
    with rc_context({"mathtext.fontset": "stix"}):
        prop = FontProperties(size=SIZE)
        try:
            width, height, descent = setter.get_text_width_height_descent(f"${source}$", prop, ismath=True)
            vertices, codes = setter.get_text_path(prop, f"${source}$", ismath=True)
        except ValueError as error:
            raise PluginError(f"formula {source!r}: {error}") from error
    margin = 0.06 * SIZE
    box = (-margin, -(height - descent) - margin, width + 2 * margin, height + 2 * margin)
    style = (
        f"width:{box[2] / SIZE:.3f}em;height:{box[3] / SIZE:.3f}em;vertical-align:{-(descent + margin) / SIZE:.3f}em"
    )
    view = " ".join(f"{value:.1f}" for value in box)
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(source)}" style="{style}" viewBox="{view}">'
        f'<path fill="currentColor" d="{_outline(vertices, codes)}"/></svg>'
    )


def _outline(vertices: Any, codes: Any) -> str:
    """A path of Matplotlib's in SVG's words; y grows downward there."""
    parts, i = [], 0
    while i < len(codes):
        letter, points = COMMANDS[codes[i]]
        numbers = " ".join(f"{x:.1f} {-y:.1f}" for x, y in vertices[i : i + points])
        parts.append(f"{letter}{numbers}")
        i += max(points, 1)
    return "".join(parts)


def on_page_content(content: str, **_: Any) -> str:
    """Draw the formulas of a page."""

    def formula(found: re.Match[str]) -> str:
        source = " ".join(html.unescape(found.group(2)).split())
        if found.group(1) == "span":
            return drawn(source)
        return f'<div class="formula-line">{drawn(source.replace(FRACTION, DISPLAYED))}</div>'

    return ARITHMATEX.sub(formula, content)
