"""Which formats an animation gets on a machine that may lack ffmpeg.

A config stays the same on every machine: `conf/animation/default.yaml` names all formats, and those that cannot be made
are left out as the files are written. Any other list was chosen, and is made as it is or refused.
"""

from collections.abc import Sequence

import yaml

from gmm_pipeline import extras
from gmm_pipeline.configuration.config import config_directory


def possible(formats: Sequence[str]) -> list[str]:
    """The formats that can be made here.

    Args:
        formats: of the config.

    Raises:
        InputError: formats other than the default ones need ffmpeg, and there is none.
    """
    without = [one for one in formats if one not in extras.ENCODED_BY_FFMPEG]
    if len(without) == len(formats) or extras.has_ffmpeg():
        return list(formats)
    if list(formats) != _default():
        raise extras.missing_ffmpeg()
    return without


def _default() -> list[str]:
    path = config_directory() / "animation" / "default.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["formats"]
