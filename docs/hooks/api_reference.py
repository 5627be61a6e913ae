"""The API of a package: a marker in a page becomes an entry for each of its modules, by name."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
MARKER = re.compile(r"<!-- modules of (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the markers."""

    def modules(found: re.Match[str]) -> str:
        package = found.group(1)
        names = sorted(path.stem for path in (ROOT / "gmm_pipeline" / package).glob("[!_]*.py"))
        return "\n\n".join(f"::: gmm_pipeline.{package}.{name}" for name in names)

    return MARKER.sub(modules, markdown)
