"""Pages from files at the root of the repository, where readers of the code expect them."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
PAGES = {"changelog.md": ("CHANGELOG.md", "# Changelog"), "contributing.md": ("CONTRIBUTING.md", "# Contributing")}
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)")


def on_files(files: Any, config: Any) -> Any:
    """Add them; a link to a file that is no page becomes its text."""
    for uri, (name, title) in PAGES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8") if path.is_file() else f"{title}\n\nThere is no `{name}` yet.\n"
        files.append(File.generated(config, uri, content=LINK.sub(r"\1", text)))
    return files
