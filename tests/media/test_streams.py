"""What lies beside picture and sound: subtitles, covers, attached files, further videos, chapters and titles."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image
from support.video import encode, numbered_frames, packets

from svfr_model.media import open_clip, write_clip

MILLISECOND = Fraction(1, 1000)
CHAPTERS = [(0, 200, "Eins"), (200, 400, "Zwei")]


@pytest.fixture
def rich(tmp_path) -> Path:
    """A Matroska file with one of everything."""
    path = tmp_path / "in.mkv"
    cover = io.BytesIO()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(cover, "JPEG")
    plain = encode(tmp_path / "plain.mkv", numbered_frames(10), audio={"codec": "aac"})
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        copies = [output.add_stream_from_template(source.streams.video[0], opaque=True) for _ in range(2)]
        sound = output.add_stream_from_template(source.streams.audio[0])
        sound.metadata["language"] = "deu"
        subtitles = output.add_mux_stream("subrip")
        output.add_attachment("font.ttf", "application/x-truetype-font", b"x" * 100)
        output.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        output.metadata.update({"title": "Film", "artist": "Somebody"})
        output.set_chapters([
            {"id": number, "start": start, "end": end, "time_base": MILLISECOND, "metadata": {"title": title}}
            for number, (start, end, title) in enumerate(CHAPTERS)
        ])  # fmt: skip
        for packet in source.demux():
            if packet.dts is None:
                continue
            for stream in copies if packet.stream.type == "video" else [sound]:
                twin = av.Packet(bytes(packet))
                twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
                twin.is_keyframe, twin.stream = packet.is_keyframe, stream
                output.mux(twin)
        for number in range(3):
            line = av.Packet(f"line {number}".encode())
            line.stream, line.time_base, line.duration = subtitles, MILLISECOND, 90
            line.pts = line.dts = number * 100
            output.mux(line)
    return path


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        found = [(stream.type, int(stream.disposition)) for stream in container.streams if stream.type != "data"]
    return sorted("cover" if flags & 0x0400 else kind for kind, flags in found)


@pytest.mark.parametrize(
    ("output", "expected", "lost"),
    [
        (".mkv", ["attachment", "audio", "cover", "subtitle", "video", "video"], None),
        (".mp4", ["audio", "cover", "video", "video"], "MP4 cannot hold it: subtitles (srt), attached file (font.ttf)"),
        (".mov", ["audio", "video", "video"], "MOV cannot hold it: subtitles (srt), attached file (font.ttf), cover"),
    ],
)
def test_what_the_container_holds_goes_along(rich, tmp_path, caplog, output, expected, lost):
    target = tmp_path / f"out{output}"
    write_clip(target, source := open_clip(rich), source=source)
    assert kinds(target) == expected
    assert (f"in.mkv: left out, because {lost}" in caplog.text) if lost else "left out" not in caplog.text
    with av.open(str(target)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("Film", "Somebody")
        assert [
            (entry["start"] * entry["time_base"], entry["metadata"]["title"]) for entry in container.chapters()
        ] == [(start * MILLISECOND, title) for start, _, title in CHAPTERS]
        if output != ".mov":
            assert container.streams.audio[0].metadata["language"] == "deu"
    if output == ".mkv":
        assert packets(target, "subtitles") == packets(rich, "subtitles")
