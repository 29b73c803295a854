"""What lies beside picture and sound: subtitles, covers, attached files, further videos, chapters and titles."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from support import odd_files
from support.odd_files import CHAPTERS
from support.video import packets

from svfr_model.media import open_clip, write_clip

MILLISECOND = Fraction(1, 1000)


@pytest.fixture
def rich(tmp_path) -> Path:
    """A Matroska file with one of everything."""
    path = tmp_path / "in.mkv"
    odd_files.rich()(path)
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
