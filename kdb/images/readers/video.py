"""Video files, by PyAV: frames [t, y, x, 3] of RGB from 0 to 255, picked evenly and never interpolated."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdb.images.image import SourceImage, evenly
from kdb.images.readers.base import Options, Reader, as_whole, check_axes, check_size, package

_AVI, _MP4 = "avi", "mov"
"""How FFmpeg calls the formats that may be read: others, such as playlists, name further files."""


def _read(path: str, axes: int, options: Options) -> SourceImage:
    check_axes("a video", 3, axes)
    av = package("av", VIDEO)
    try:
        return _decoded(av, path, options)
    except av.error.FFmpegError as error:
        raise ValueError(f"it is damaged or truncated: {error.strerror or error}") from error


def _decoded(av: Any, path: str, options: Options) -> SourceImage:
    with open(path, "rb") as file:
        kind = _AVI if file.read(4) == b"RIFF" else _MP4
    with av.open(path, format=kind, options={"protocol_whitelist": "file"}) as container:
        if not container.streams.video:
            raise ValueError("it has no pictures")
        stream = container.streams.video[0]
        size = stream.codec_context.height, stream.codec_context.width
        count = sum(1 for packet in container.demux(stream) if packet.size)
        picked = evenly(count, as_whole("frames", options.get("frames", max(count, 1))))
        check_size((len(picked), *size, 3))
    found = {}
    with av.open(path, format=kind, options={"protocol_whitelist": "file"}) as container:
        wanted, last = set(picked.tolist()), int(picked[-1])
        for i, frame in enumerate(container.decode(video=0)):
            if i in wanted:
                if (frame.height, frame.width) != size:
                    raise ValueError("its frames have different sizes")
                found[i] = frame.to_ndarray(format="rgb24")
            if i == last:
                break
    if len(found) < len(wanted):
        raise ValueError(f"it has {count} frames, of which some cannot be decoded")
    notes = () if len(found) == count else (f"{len(picked)} frames are taken evenly of its {count}",)
    return SourceImage(np.stack([found[i] for i in picked.tolist()]).astype(np.float32), axes="tyx", notes=notes)


VIDEO = Reader(
    "videos",
    "av",
    _read,
    extra="video",
    suffixes=(".mp4", ".avi"),
    magic=lambda head: head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI "),
    options={"frames": "how many are taken, evenly; by default as many as the model takes"},
)
