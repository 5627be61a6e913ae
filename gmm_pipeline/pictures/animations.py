"""The animation of a fit: densities or ellipses over the data, and the loss, as training proceeds.

celluloid's `Camera` collects the artists of each frame, as in the notebook; what does not change is drawn after the
last snap, belongs to no frame and so stays in all of them. A full drawing of axes, ticks and legend takes ten times as
long as that of a few lines, so the unchanging part is drawn once and kept as pixels, and each frame is rendered once
for all formats. The price is that lines lie above the axes, and that no window shows the frames as they are drawn.
The files are the same bytes in each process: one encoder thread, and no versions or dates.
"""

import base64
import contextlib
import html
import io
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from celluloid import Camera
from jaxtyping import Real
from matplotlib.animation import AbstractMovieWriter, ArtistAnimation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gmm_pipeline import extras
from gmm_pipeline.analysis import curves
from gmm_pipeline.model.natural import MultivariateMixture
from gmm_pipeline.pictures import drawing, scenes, ticks
from gmm_pipeline.pictures.pages import styled
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.files import whole_file

STEM = "training"
"""Name of the files without suffix."""
SHARE_LOSS = 0.3
FONT_SIZE = 9.0
"""In points."""
TICKS = 6
"""Most intervals between ticks of the density or of the columns."""
GIF_COLORS = 128
# Browsers slow down a gif whose frames last less than two hundredths of a second.
LEAST_GIF_MILLISECONDS = 20
# One thread and no tags of any encoder version: the same frames are the same bytes. Odd sizes are padded with white.
ENCODER = (
    *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white,scale=out_color_matrix=bt709:out_range=tv"),
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
    *("-movflags", "+faststart", "-flags", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1", "-an"),
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 0; background: white; text-align: center }} video {{ width: 100%; max-width: {width}px }}</style>
</head>
<body>
<video controls autoplay loop muted playsinline width="{width}" height="{height}"
 style="height: auto" src="data:video/mp4;base64,{video}"></video>
</body>
</html>
"""


class _StillCanvas(FigureCanvasAgg):
    """A canvas that leaves out the full drawing for which the animation asks before each frame."""

    def draw_idle(self, *args: Any, **kwargs: Any) -> None:
        pass


def _caption(step: int, loss: float, excess: float) -> str:
    if not np.isfinite(loss):
        return f"step {step},  loss not finite"
    if not excess > drawing.LEAST_EXCESS:
        return f"step {step},  loss {loss:.3f} nats,  the least"
    return f"step {step},  loss {loss:.3f} nats,  {excess:.{1 if excess >= 10.0 else 6}f} above the least"


def animate_training(
    history: History,
    data: Real[np.ndarray, "n ..."],
    sample_weights: Real[np.ndarray, " n"] | None = None,
    *,
    name: str,
    unit: str | None,
    columns: Sequence[str] = (),
    log_noise: float | None = None,
    frames: int,
    size: Sequence[float],
    dpi: float | int,
) -> ArtistAnimation:
    """The fitted mixture and its components [K] over the data as training proceeds, with the loss below.

    A mixture of several columns is seen as ellipses, on the two directions that separate its components best at the end
    if the columns are more than two.

    Args:
        history: steps, losses in nats and mixtures; `curves.choose_records` chooses the ones to show.
        data: x.
        sample_weights: how often each datum counts; None for once each.
        name: what the data are, for the axis of a single column.
        unit: of the data, or None for none.
        columns: names of several columns.
        log_noise: log density of the noise; None without noise.
        frames: maximum number of frames.
        size: width and height of the figure, in inches.
        dpi: dots per inch.
    """
    if isinstance(history.mixtures, MultivariateMixture):
        scene = scenes.of_columns(history, data, sample_weights, columns=columns, unit=unit)
    else:
        scene = scenes.of_numbers(history, data, sample_weights, name=name, unit=unit, log_noise=log_noise)
    excess, _ = curves.loss_excess(history.losses)
    chosen = curves.choose_records(history, frames)
    with styled(FONT_SIZE):
        figure = Figure(figsize=(size[0], size[1]), dpi=dpi, layout="constrained")
        _StillCanvas(figure)
        upper, loss = figure.subplots(2, 1, height_ratios=(1.0 - SHARE_LOSS, SHARE_LOSS))
        camera = Camera(figure)
        for index in chosen.tolist():
            scene.draw_entry(upper, index)
            text = _caption(int(history.steps[index]), float(history.losses[index]), float(excess[index]))
            upper.text(0.0, 1.03, text, transform=upper.transAxes)
            loss.axvline(float(history.steps[index]), color=drawing.COLORS[5], linewidth=1.2)
            for artist in camera.snap():
                artist.set_animated(True)
        scene.draw_still(upper)
        # An empty title reserves the space of the line of text that changes, where the power of ten would stand.
        upper.set_title(" ", loc="left")
        upper.set_ylabel(ticks.with_power(upper.get_ylabel(), ticks.set_panel_ticks(upper.yaxis, TICKS)))
        drawing.draw_excess(loss, history)
        loss.set_ylabel("loss − least\n/ nats")
        figure.legend(*scene.legend(upper), loc="outside right upper")
        figure.align_ylabels()
    return camera.animate(blit=True)


class _Video:
    """Frames on their way into an encoder process; `finish` gives the mp4."""

    def __init__(self, width: int, height: int, fps: float | int):
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "video.mp4"
        source = ("-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{width}x{height}", "-r", f"{fps}", "-i", "-")
        command = [extras.ffmpeg(), "-y", "-loglevel", "error", "-nostats", *source, *ENCODER, str(self._path)]
        self._process = subprocess.Popen(  # noqa: S603 (no shell, and no argument is the user's)
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def add(self, pixels: bytes) -> None:
        # `finish` reports a dead encoder, with its error message.
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).write(pixels)

    def finish(self) -> bytes:
        with self._folder:
            _, complaints = self._process.communicate()
            if self._process.returncode:
                raise RuntimeError(f"ffmpeg failed: {complaints.decode(errors='replace').strip()}")
            return self._path.read_bytes()


class _Writer(AbstractMovieWriter):
    """Renders each frame once, onto a kept background, for the gif and for the video."""

    def __init__(self, formats: Sequence[str], fps: float | int, hold: float | int, progress: Callable[[], None]):
        super().__init__()
        self.gif = self.video = b""
        self._rate = fps
        self._formats = formats
        self._hold = hold
        self._progress = progress
        self._images: list[Image.Image] = []
        self._video: _Video | None = None
        self._pixels = b""

    def setup(self, fig: Figure, outfile: Any, dpi: float | int | None = None) -> None:
        self.fig, self.outfile, self.dpi = fig, outfile, dpi or fig.dpi
        fig.set_dpi(self.dpi)
        self._canvas = cast(FigureCanvasAgg, fig.canvas)
        self._artists = [artist for axes in fig.axes for artist in axes.get_children() if artist.get_animated()]
        self._artists.sort(key=lambda artist: artist.get_zorder())
        for artist in self._artists:
            artist.set_visible(False)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(fig.bbox)
        self.size = self._canvas.get_width_height()
        if set(extras.ENCODED_BY_FFMPEG) & set(self._formats):
            self._video = _Video(*self.size, self._rate)

    def grab_frame(self, **savefig_kwargs: Any) -> None:
        self._canvas.restore_region(self._background)
        for artist in self._artists:
            if artist.get_visible():
                self.fig.draw_artist(artist)
        self._pixels = self._canvas.buffer_rgba().tobytes()
        if self._video is not None:
            self._video.add(self._pixels)
        if "gif" in self._formats:
            image = Image.frombuffer("RGBA", self.size, self._pixels, "raw", "RGBA", 0, 1).convert("RGB")
            self._images.append(image)
        self._progress()

    def finish(self) -> None:
        if self._video is not None:
            for _ in range(round(self._hold * self._rate)):
                self._video.add(self._pixels)
            self.video = self._video.finish()
        if self._images:
            self.gif = _gif(self._images, self._rate, self._hold)


def _gif(images: Sequence[Image.Image], fps: float | int, hold: float | int) -> bytes:
    """All frames on one palette, taken from three of them; without dither, flat areas stay flat and the file small."""
    width, height = images[0].size
    swatch = Image.new("RGB", (width, 3 * height))
    for row, index in enumerate((0, len(images) // 2, -1)):
        swatch.paste(images[index], (0, row * height))
    palette = swatch.quantize(GIF_COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    # The nearest colour is found to six bits a channel: with near-whites to choose from, the paper would be off-white.
    colors = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colors[(colors >= 248).all(axis=1)] = 255
    palette.putpalette(colors.tobytes())
    first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
    frame = max(round(1000.0 / fps), LEAST_GIF_MILLISECONDS)
    durations = [frame] * len(others) + [frame + round(1000.0 * hold)]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _page(video: bytes, size: tuple[int, int], title: str) -> bytes:
    encoded = base64.b64encode(video).decode()
    return PAGE.format(title=html.escape(title), width=size[0], height=size[1], video=encoded).encode()


def save_animation(
    animation: ArtistAnimation,
    directory: Path,
    *,
    formats: Sequence[str],
    fps: float | int,
    hold: float | int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write an animation as gif, mp4 and a page with the video inside, rendered once; returns the paths, by format.

    Args:
        animation: from `animate_training`.
        directory: where the files go; created if needed.
        formats: any of gif, mp4 and html.
        fps: frames per second.
        hold: seconds for which the last frame stays.
        progress: called with (frames done, frames in total) after each frame.

    Raises:
        InputError: there is no ffmpeg for mp4 and html.
    """
    if not formats:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    n_frames = sum(1 for _ in animation.new_frame_seq())
    done = iter(range(1, n_frames + 1))
    writer = _Writer(formats, fps, hold, lambda: progress(next(done), n_frames) if progress else None)
    with styled(FONT_SIZE):
        animation.save(str(directory / STEM), writer=writer)
    contents = {"gif": writer.gif, "mp4": writer.video, "html": _page(writer.video, writer.size, STEM)}
    paths = []
    for suffix in formats:
        paths.append(directory / f"{STEM}.{suffix}")
        with whole_file(paths[-1]) as stream:
            stream.write(contents[suffix])
    return paths
