"""What a user gives as a clip: every kind of file, name and damage."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from support import odd_files as odd
from support.faults import Fault
from support.files import frames_of

from svfr_model.media import open_clip

LONG = "n" * 251 + ".mp4"
"""As long a name as file systems allow: 255 bytes."""


FIFTHS = (Fraction(0), Fraction(1, 5), Fraction(2, 5))


def frames(name: str, count: int, height: int = 48, width: int = 64):
    """A check: so many frames of this size were written."""

    def check(folder):
        assert frames_of(folder / name).shape == (count, height, width, 3)

    return check


def shown_at(*times: Fraction):
    """A check: the frames of out.mp4 are shown at these seconds."""

    def check(folder):
        found = [float(time) for time in open_clip(folder / "out.mp4").timestamps]
        assert np.allclose(found, [float(time) for time in times], atol=2e-3), found

    return check


def unusable(name, make, *says, source="in.mp4"):
    """An input that is refused by its name."""
    return Fault(f"input: {name}", ("restore", source, "out.mp4"), {source: make}, says=(source, *says))


def restored(name, make, source="in.mp4", target="out.mp4", command="restore", **more):
    """An input that works."""
    more.setdefault("check", frames(target, 5))
    return Fault(f"input: {name}", (command, source, target), {source: make}, code=0, writes=(target,), **more)


def read(name, make, source="in.mp4", target="out.mp4", **more):
    """An input that can be read; degrade reads as restore does and is quicker."""
    return restored(name, make, source, target, command="degrade", **more)


BROKEN = [
    Fault("input: not there", "restore absent.mp4 out.mp4", says=("absent.mp4", "no such file", "Check the path")),
    Fault("input: no name", ("restore", "", "out.mp4"), {"in.mp4": odd.clip()}, says=("empty",)),
    unusable("no bytes", odd.empty, "empty (0 bytes)"),
    unusable("text named .mp4", odd.text, "not a video"),
    unusable("JSON named .mp4", odd.settings(a=1), "not a video"),
    unusable("cut in half", odd.cut(odd.clip(), 0.5), "not a video that can be read"),
    unusable("its first 100 bytes", odd.cut(odd.clip(), 0.02)),
    unusable("noise", odd.data(bytes(range(256)) * 40), "not a video"),
    unusable("an empty folder", odd.subfolder, "no picture in this folder"),
    unusable("a folder of text", odd.full_folder, "no picture in this folder"),
    unusable("a pipe that nobody fills", odd.fifo, "not a file"),
    unusable("a device", odd.link("/dev/null"), "not a file"),
    unusable("an endless device", odd.link("/dev/zero"), "not a file"),
    unusable("a link to nowhere", odd.link("gone.mp4"), "no such file"),
    unusable("a link to itself", odd.link("in.mp4"), "in.mp4"),
    unusable("sound only", odd.sound_only(), "no video stream", "audio"),
    unusable("text named .png", odd.text, "not a picture that can be read", source="in.png"),
    unusable("half a PNG", odd.cut(odd.picture(), 0.5), "not a picture", source="in.png"),
    unusable("half a JPEG", odd.cut(odd.picture(480, 640, suffix=".jpg"), 0.5), "not a picture", source="in.jpg"),
    unusable("a header of 100000x100000", odd.huge_png(), "in.png", source="in.png"),
    unusable("floating point", odd.array("F", suffix=".tif"), "floating-point", source="in.tif"),
    unusable("no suffix and text", odd.text, "not a video", source="in"),
    unusable(
        "pictures of two sizes", lambda p: (odd.folder(2)(p), odd.picture(30, 30)(p / "2.png")), "2.png", "one size"
    ),
    unusable("a broken picture among good ones", lambda p: (odd.folder(2)(p), odd.text(p / "2.png")), "2.png"),
    unusable("a name that is a folder's", odd.link("in.mp4/"), "in.mp4"),
    Fault("input: two of them", "restore in.mp4 in.mp4 out.mp4", says=("unrecognized arguments",)),
    Fault("input: a leading dash", "restore -in.mp4 out.mp4", {"-in.mp4": odd.clip()}, says=("-in.mp4",)),
    Fault("input: a wildcard that nothing matched", ("restore", "*.mov", "out.mp4"), says=("*.mov", "no such file")),
    Fault("input: an address", ("restore", "https://example.org/a.mp4", "out.mp4"), says=("no such file",)),
    Fault("input: a home that no shell put in", ("restore", "~/in.mp4", "out.mp4"), says=("~/in.mp4",)),
    Fault("input: below a file", "restore in.mp4/in.mp4 out.mp4", {"in.mp4": odd.clip()}, says=("in.mp4/in.mp4",)),
    Fault("input: too long a name", ("restore", "n" * 256 + ".mp4", "out.mp4"), says=("nnn",)),
    Fault("input: a zero in the name", ("restore", "in\0.mp4", "out.mp4"), says=("in",)),
]

ODD = [
    restored("one frame", odd.clip(1), check=frames("out.mp4", 1)),
    restored("two frames", odd.clip(2), check=frames("out.mp4", 2)),
    restored("odd sizes", odd.clip(5, 47, 63, pixels="yuv444p"), check=frames("out.mp4", 5, 47, 63)),
    restored("1x1", odd.picture(1, 1), "in.png", "out.png", check=frames("out.png", 1, 1, 1)),
    restored("one row", odd.picture(1, 64), "in.png", "out.png", check=frames("out.png", 1, 1, 64)),
    restored("turned by its header", odd.turned(), check=frames("out.mp4", 5, 64, 48)),
    read("grey", odd.clip(suffix=".mkv", pixels="gray", codec="ffv1"), "in.mkv"),
    read("16 bit", odd.clip(suffix=".mkv", pixels="gray16le", codec="ffv1"), "in.mkv"),
    read("10 bit", odd.clip(suffix=".mkv", pixels="yuv420p10le", codec="ffv1"), "in.mkv"),
    read("alpha", odd.clip(suffix=".mkv", pixels="yuva420p", codec="ffv1"), "in.mkv", says=("alpha",)),
    read(
        "its last tenth missing",
        odd.cut(odd.clip(suffix=".mkv", codec="ffv1"), 0.9),
        "in.mkv",
        says=("in.mkv", "cut short", "missing", "4 frames"),
        check=frames("out.mp4", 4),
    ),
    read("no suffix", odd.clip(), "in"),
    read("another suffix than its kind", odd.clip(suffix=".mkv"), "in.avi"),
    read("a suffix in capitals", odd.clip(), "IN.MP4"),
    read("spaces and quotes", odd.clip(), "my 'clip' \"1\".mp4"),
    read("a new line in its name", odd.clip(), "in\n.mp4"),
    restored("letters of the world", odd.clip(), "видео-影片-é.mp4"),
    read("percent signs", odd.clip(), "%05d.mp4"),
    read("a colon, like an address", odd.clip(), "file:in.mp4"),
    read("a name of 255 bytes", odd.clip(), LONG),
    Fault(
        "input: a link",
        "restore in.mp4 out.mp4",
        {"real.mp4": odd.clip(), "in.mp4": odd.link("real.mp4")},
        code=0,
        writes=("out.mp4",),
        check=frames("out.mp4", 5),
    ),
    Fault(
        "input: a leading dash after --",
        "degrade -- -in.mp4 out.mp4",
        {"-in.mp4": odd.clip()},
        code=0,
        writes=("out.mp4",),
    ),
    Fault(
        "input: a leading dash with ./",
        "degrade ./-in.mp4 out.mp4",
        {"-in.mp4": odd.clip()},
        code=0,
        writes=("out.mp4",),
    ),
    read("an animated GIF", odd.animated(".gif"), "in.gif", check=frames("out.mp4", 3)),
    read("an animated WebP", odd.animated(".webp", duration=200), "in.webp", check=shown_at(*FIFTHS)),
    read("an animated PNG", odd.animated(".png", duration=200), "in.png", check=shown_at(*FIFTHS)),
    read("a TIFF of three pages", odd.animated(".tif"), "in.tif", check=frames("out.mp4", 3)),
    Fault(
        "input: an animated PNG to a picture",
        "degrade in.png out.png",
        {"in.png": odd.animated(".png")},
        says=("out.png", "the clip has 3"),
    ),
    read("a WebP", odd.picture(suffix=".webp"), "in.webp", "out.png", check=frames("out.png", 1)),
    read("16-bit grey PNG", odd.array("I;16"), "in.png", "out.png", check=frames("out.png", 1)),
    read("a palette", odd.picture(mode="P"), "in.png", "out.png", check=frames("out.png", 1)),
    read("black and white", odd.picture(mode="1"), "in.png", "out.png", check=frames("out.png", 1)),
    read("CMYK", odd.picture(mode="CMYK", suffix=".jpg"), "in.jpg", "out.png", check=frames("out.png", 1)),
    read(
        "a picture with alpha",
        odd.picture(mode="RGBA"),
        "in.png",
        "out.png",
        says=("alpha",),
        check=frames("out.png", 1),
    ),
    read(
        "a folder with gaps in its numbers",
        odd.folder(names=("0.png", "1.png", "2.png", "5.png", "9.png")),
        "in",
        says=("3, 4, 6, 7, 8", "missing"),
    ),
    read(
        "a folder of every tenth number",
        odd.folder(names=("0.png", "10.png", "20.png")),
        "in",
        never=("missing",),
        check=frames("out.mp4", 3),
    ),
    restored("a folder", odd.folder(5), "in", "out.mp4"),
    Fault(
        "input: a folder with other files in it",
        "degrade in out.mp4",
        {"in": odd.folder(5), "in/notes.txt": odd.text, "in/.DS_Store": odd.text},
        code=0,
        writes=("out.mp4",),
    ),
    read(
        "a folder without zeros in its names",
        odd.folder(names=("1.png", "2.png", "10.png")),
        "in",
        check=frames("out.mp4", 3),
    ),
    read(
        "frames at uneven times",
        odd.timed(tuple(Fraction(t, 25) for t in (0, 1, 5, 6, 25))),
        check=shown_at(*(Fraction(t, 25) for t in (0, 1, 5, 6, 25))),
    ),
]

BESIDE = [
    read(
        "times before 0",
        odd.timed(tuple(Fraction(t, 25) for t in range(-5, 4)), ".mkv"),
        "in.mkv",
        check=shown_at(*(Fraction(t, 25) for t in range(9))),
    ),
    *(
        read(
            f"{codec} sound in {suffix}",
            odd.clip(suffix=suffix, codec=video, sound=codec),
            f"in{suffix}",
            says=("encoded to AAC",),
        )
        for codec, suffix, video in (
            ("pcm_s16le", ".avi", "mpeg4"),
            ("pcm_s16le", ".mkv", "libx264"),
            ("pcm_s24le", ".mkv", "libx264"),
        )
    ),
    read("sound that is kept", odd.clip(suffix=".mkv", sound="pcm_s16le"), "in.mkv", "out.mkv", never=("WARNING",)),
    read("VP9 with alpha", odd.alpha_vp9(), "in.webm", says=("alpha channel is dropped",)),
    read(
        "an AVI that shows frames longer",
        odd.timed(tuple(Fraction(t, 5) for t in range(5)), ".avi"),
        "in.avi",
        never=("WARNING",),
    ),
    read(
        "an AVI without its end",
        odd.cut(odd.clip(suffix=".avi", codec="mpeg4"), 0.95),
        "in.avi",
        says=("cut short",),
        check=None,
    ),
    read(
        "one of everything, for MP4",
        odd.rich(),
        "in.mkv",
        says=("left out, because MP4 cannot hold it", "subtitles (srt)", "font.ttf"),
        check=frames("out.mp4", 10),
    ),
    read(
        "one of everything, for Matroska",
        odd.rich(),
        "in.mkv",
        "out.mkv",
        never=("WARNING",),
        check=frames("out.mkv", 10),
    ),
]

ROWS = [*BROKEN, *ODD, *BESIDE]
