"""A lap as a film: the track from above around the car, what its lidar sees, its trace, gauges and clock."""

from __future__ import annotations

import contextlib
import math
import subprocess
import tempfile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from ..envs.rendering.canvas import FRAME_SIZE
from ..process.systemd_notify import alive
from .frames import Painter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ..envs.rendering.scenery import Scenery
    from ..evaluation.recording import Trace

FPS = 25
# A longer lap is shown in double time, and so on.
LONGEST_S = 32.0
# The last picture stays, so that the lap time can be read.
HELD_S = 1.6
MAX_BYTES = 3_000_000
# Quality of x264: lower is better; flat colours need little.
QUALITY = 23
GIF_FPS, GIF_WIDTH, GIF_SECONDS = 10, 400, 12.0


class Film(NamedTuple):
    """A written film."""

    path: Path
    media_type: str
    seconds: float
    playback: int  # times faster than the lap was


def film(trace: Trace, scenery: Scenery, directory: Path, title: str, name: str = "lap") -> Film:
    """Write a lap or race as <name>.mp4 (H.264), as a gif where the encoder does not work; OSError if neither."""
    directory.mkdir(parents=True, exist_ok=True)
    playback = max(1, math.ceil(float(trace.time_s[-1]) / LONGEST_S))
    path = directory / f"{name}.mp4"
    try:
        seconds = _write_mp4(path, Painter(trace, scenery, title, playback), trace, playback)
    except (OSError, RuntimeError):
        path.unlink(missing_ok=True)
        faster = max(playback, math.ceil(float(trace.time_s[-1]) / GIF_SECONDS))
        path = directory / f"{name}.gif"
        seconds = _write_gif(path, Painter(trace, scenery, title, faster), trace, faster)
        return Film(path, "image/gif", seconds, faster)
    return Film(path, "video/mp4", seconds, playback)


def _moments(trace: Trace, playback: int, fps: float) -> list[int]:
    """Return the row of the trace for each frame, the last of them several times."""
    stride = max(1, round(playback / fps / trace.step_s))
    rows = [*range(0, len(trace.time_s), stride)]
    return rows + [len(trace.time_s) - 1] * max(1, round(HELD_S * fps))


def _write_mp4(path: Path, painter: Painter, trace: Trace, playback: int) -> float:
    """Feed the frames to the encoder that imageio-ffmpeg brings; return the film's length, s."""
    rows = _moments(trace, playback, FPS)
    seconds = len(rows) / FPS
    command = _encoder_command(path, int(0.92 * 8 * MAX_BYTES / seconds))
    with tempfile.TemporaryFile() as said:
        # The command is ours; its only variable part is our own file's path.
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)  # noqa: S603
        try:
            for picture in _pictures(painter, rows):
                encoder.stdin.write(picture.data)
            encoder.stdin.close()
        except BaseException:
            encoder.kill()
            with contextlib.suppress(OSError):
                encoder.stdin.close()
            raise
        finally:
            code = encoder.wait()
        if code != 0:
            said.seek(0)
            raise OSError(f"the encoder ended with {code}: {said.read()[-400:].decode(errors='replace')}")
    return seconds


def _encoder_command(path: Path, most_bits_per_s: int) -> list[str]:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*FRAME_SIZE), "-r", str(FPS)]
    picture = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "animation", "-crf", str(QUALITY)]
    limit = ["-maxrate", str(most_bits_per_s), "-bufsize", str(most_bits_per_s)]
    # yuv420p is the form that every browser and phone plays; faststart lets it begin before it is whole.
    form = ["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-threads", "1", "-an"]
    quiet = [get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    return [*quiet, *raw, "-i", "-", *picture, *limit, *form, str(path)]


def _write_gif(path: Path, painter: Painter, trace: Trace, playback: int) -> float:
    """Write fewer, smaller pictures in one set of colours: a gif of every frame would have tens of megabytes."""
    rows = _moments(trace, playback, GIF_FPS)
    size = (GIF_WIDTH, GIF_WIDTH * FRAME_SIZE[1] // FRAME_SIZE[0])
    colours: Image.Image | None = None
    frames = []
    for picture in _pictures(painter, rows):
        small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
        colours = colours or small.quantize(48)
        frames.append(small.quantize(palette=colours, dither=Image.Dither.NONE))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 // GIF_FPS, loop=0)
    return len(rows) / GIF_FPS


def _pictures(painter: Painter, rows: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Draw each row once, however often it is shown."""
    last, picture = -1, np.empty(0, dtype=np.uint8)
    for row in rows:
        if row != last:
            last, picture = row, painter.frame(row)
            alive()
        yield picture
