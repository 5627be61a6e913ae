"""Parts of the installation that can be left out, and the message for each that is missing.

An extra is named in `pyproject.toml` alone. Whether a library is there is asked without an import, so that a command
refuses at once what it could not finish.
"""

import importlib.util
import os
import shutil

from gmm_pipeline import program
from gmm_pipeline.errors import InputError

FFMPEG = "IMAGEIO_FFMPEG_EXE"
"""Environment variable with the path of an ffmpeg program, as the library of the extra reads it too."""
ENCODED_BY_FFMPEG = ("mp4", "html")
"""Formats of animations that need ffmpeg; a gif is written by Pillow."""


def is_installed(module: str) -> bool:
    """Whether a module can be imported."""
    return importlib.util.find_spec(module) is not None


def to_install(package: str) -> str:
    """How to install a package that comes with an extra of this program; empty if none has it."""
    extra = program.extra_with(package)
    return "" if extra is None else f'Install it: pip install "{program.MODULE}[{extra}]".'


def require(module: str, package: str, *, where: str, purpose: str) -> None:
    """Refuse what needs a package that is not installed.

    Args:
        module: as it is imported.
        package: as it is installed.
        where: the command or key that needs it.
        purpose: what it is needed for.

    Raises:
        InputError: it is not installed.
    """
    if not is_installed(module):
        raise InputError(
            where,
            expected=f"an installation with {package}, for {purpose}",
            came="one without it",
            remedy=to_install(package),
        )


def has_ffmpeg() -> bool:
    """Whether there is an ffmpeg program: named, of the extra, or on the search path."""
    return bool(os.environ.get(FFMPEG)) or is_installed("imageio_ffmpeg") or shutil.which("ffmpeg") is not None


def ffmpeg() -> str:
    """Path of the ffmpeg program: the one that is named, else that of the extra, else the one on the search path.

    Raises:
        InputError: there is none.
    """
    if is_installed("imageio_ffmpeg"):
        import imageio_ffmpeg

        try:
            return imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise missing_ffmpeg() from error
    path = os.environ.get(FFMPEG) or shutil.which("ffmpeg")
    if path is None:
        raise missing_ffmpeg()
    return path


def missing_ffmpeg() -> InputError:
    """The error for videos without an ffmpeg program."""
    return InputError(
        "animation.formats",
        expected="an ffmpeg program for mp4 and html",
        came="none",
        remedy=f"{to_install('imageio-ffmpeg')} Or put ffmpeg on the search path, or set animation.formats=[gif].",
    )
