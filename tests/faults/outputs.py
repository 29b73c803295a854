"""Where results go: forms that cannot be written, places that cannot be, and files that must not be harmed."""

from __future__ import annotations

import itertools

from support import odd_files as odd
from support.faults import Fault

SAME = "same"


def refused(name, command, *says, **more):
    """An output that is refused before any work."""
    return Fault(f"output: {name}", command, says=says, **more)


def written(name, command, *writes, **more):
    """An output that works."""
    return Fault(f"output: {name}", command, code=0, writes=writes, **more)


FORMS = [
    refused("a suffix that is not written", "restore in.mp4 out.avi", "out.avi", ".mp4, .mov, .mkv"),
    refused("a suffix of a table", "restore in.mp4 out.json", "out.json", "cannot write .json"),
    refused("a GIF", "restore in.mp4 out.gif", "out.gif"),
    refused("a suffix alone", "restore in.mp4 .mp4", ".mp4"),
    refused("no name", ("restore", "in.mp4", ""), "empty"),
    refused("one space", ("restore", "in.mp4", " ")),
    refused("this folder", "restore in.mp4 .", "not empty"),
    refused("the folder above", "restore in.mp4 ..", "not empty"),
    refused("the root", "restore in.mp4 /", "not empty"),
    refused("a folder that is not there", "restore in.mp4 no/such/out.mp4", "no/such", "does not exist"),
    refused("a folder below a file", "restore in.mp4 in.mp4/out.mp4", "in.mp4"),
    refused("a folder that is full", "restore in.mp4 full", "full", "not empty", files={"full": odd.full_folder}),
    refused("a folder named like a video", "restore in.mp4 out.mp4", "out.mp4", files={"out.mp4": odd.full_folder}),
    refused("a file where a folder of frames goes", "restore in.mp4 out", "in the way", files={"out": odd.text}),
    refused("one picture for five frames", "restore in.mp4 out.png", "the clip has 5"),
    refused("one JPEG for five frames", "restore in.mp4 out.jpg", "the clip has 5"),
    refused("a pipe", "restore in.mp4 out.mp4", "out.mp4", files={"out.mp4": odd.fifo}),
    refused("a device", "restore in.mp4 /dev/null", "/dev/null"),
    refused(
        "a link to a pipe", "restore in.mp4 out.mp4", "out.mp4", files={"out.mp4": odd.link("pipe"), "pipe": odd.fifo}
    ),
    refused("a link to nowhere", "restore in.mp4 out.mp4", "out.mp4", files={"out.mp4": odd.link("no/such.mp4")}),
    refused("a link to itself", "restore in.mp4 out.mp4", "out.mp4", files={"out.mp4": odd.link("out.mp4")}),
    refused("a name of 256 bytes", ("restore", "in.mp4", "n" * 252 + ".mp4"), "too long"),
    refused("a name of 86 letters of three bytes", ("restore", "in.mp4", "影" * 85 + ".mp4"), "too long"),
    refused("a zero in its name", ("restore", "in.mp4", "o\0.mp4")),
    refused("an option where it should be", "restore in.mp4 --seed 3", "required: OUT"),
    refused("none", "restore in.mp4", "required: OUT"),
    refused("nothing at all", "restore", "required: IN, OUT"),
    refused("a person of whole frames", "restore in.mp4 out.mp4 --no-crop --faces in.png", "--faces", "--no-crop"),
    refused("a person for stc", "stc face.mp4 o.mp4 --faces face.mp4", "right or a whole number", faces=True),
    refused("crops of whole frames", "restore in.mp4 out.mp4 --keep-crop", "do not go with whole frames"),
    refused("a debug video of whole frames", "restore in.mp4 out.mp4 --debug-video d.mp4", "whole frames"),
    refused("a log of levels as text", "restore in.mp4 out.mp4 --no-crop --log-levels l.txt", "l.txt", ".json, .csv"),
    refused("a log of levels nowhere", "restore in.mp4 out.mp4 --no-crop --log-levels no/l.csv", "no/l.csv"),
    refused(
        "a log of levels over the frames",
        "restore in.json out.mp4 --log-levels in.json",
        "in.json",
        files={"in.json": odd.text},
    ),
    refused("a debug video as picture", "restore face.mp4 out.mp4 --debug-video d.png", "d.png", faces=True),
    refused("a debug video as text", "restore face.mp4 out.mp4 --debug-video d.txt", "d.txt", faces=True),
    refused("a debug video nowhere", "restore face.mp4 out.mp4 --debug-video no/d.mp4", "no", faces=True),
    refused("a mask as text", "degrade in.mp4 out.mp4 --tasks inpainting --mask-out m.txt", "m.txt"),
    refused("a mask nowhere", "degrade in.mp4 out.mp4 --tasks inpainting --mask-out no/m.mp4", "no"),
    refused("a mask as one picture", "degrade in.mp4 out.mp4 --tasks inpainting --mask-out m.png", "m.png"),
    refused("a degraded clip as one picture", "degrade in.mp4 out.png", "out.png", "5"),
    refused("a mask that nothing paints", "degrade in.mp4 out.mp4 --mask-out m.mp4", "needs inpainting"),
    refused("figures nowhere", "evaluate in.mp4 --json no/such/x.json", "no/such"),
    refused("figures in a folder", "evaluate in.mp4 --json full", "full", files={"full": odd.full_folder}),
    refused("no name for the figures", ("evaluate", "in.mp4", "--json", "")),
    refused("a profile of an unknown kind", "evaluate in.mp4 --profile x.xyz", "x.xyz"),
    refused("a profile without a kind", "evaluate in.mp4 --profile x", "x"),
    refused("a profile nowhere", "evaluate in.mp4 --profile no/x.png", "no/x.png"),
    refused("a profile as video", "evaluate in.mp4 --profile x.mp4", "x.mp4"),
    refused("an enhanced clip of a kind", "stc in.mp4 out.avi --task deflicker", "out.avi"),
    refused("an enhanced clip as one picture", "stc in.mp4 out.png --task deflicker", "out.png", "5"),
    refused("a demonstration in a file", "demo --out here", "here", files={"here": odd.text}),
    refused("a demonstration below a file", "demo --out here/there", "here", files={"here": odd.text}),
]

WORKS = [
    written("MOV", "restore in.mp4 out.mov", "out.mov"),
    written("Matroska", "degrade in.mp4 out.mkv", "out.mkv"),
    written("capitals", "degrade in.mp4 OUT.MP4", "OUT.MP4"),
    written("a new folder", "degrade in.mp4 out", "out", *(f"out/{k:06}.png" for k in range(5))),
    written(
        "an empty folder", "degrade in.mp4 out", *(f"out/{k:06}.png" for k in range(5)), files={"out": odd.subfolder}
    ),
    written("a folder with a slash", "degrade in.mp4 out/", "out", *(f"out/{k:06}.png" for k in range(5))),
    written("one picture of one frame", "degrade in.png out.jpg", "out.jpg"),
    written("a name of 255 bytes", ("degrade", "in.mp4", "n" * 251 + ".mp4"), "n" * 251 + ".mp4"),
    written("244 bytes", ("degrade", "in.mp4", "n" * 240 + ".mp4"), "n" * 240 + ".mp4"),
    written("255 bytes of letters of three", ("degrade", "in.mp4", "影" * 83 + ".mp4"), "影" * 83 + ".mp4"),
    written("a new line in its name", ("degrade", "in.mp4", "o\nut.mp4"), "o\nut.mp4"),
    written("percent signs", ("degrade", "in.mp4", "%05d.mp4"), "%05d.mp4"),
    written("a leading dash after --", "degrade -- in.mp4 -out.mp4", "-out.mp4"),
    written("an older result", "restore in.mp4 out.mp4", files={"out.mp4": odd.clip(3)}, replaces=("out.mp4",)),
    written(
        "a link to an older result",
        "degrade in.mp4 out.mp4",
        files={"old.mp4": odd.clip(3), "out.mp4": odd.link("old.mp4")},
        replaces=("old.mp4",),
    ),
    written(
        "one of two names of a file",
        "degrade in.mp4 out.mp4",
        files={"out.mp4": odd.clip(3), "kept.mp4": odd.hard_link("out.mp4")},
        replaces=("out.mp4",),
    ),
    written(
        "debug video and crop",
        "restore face.mp4 out.mp4 --debug-video d.mp4 --keep-crop",
        "out.mp4",
        "d.mp4",
        "out-crop0.mp4",
        faces=True,
    ),
    written("a clip and its mask", "degrade in.mp4 out.mp4 --tasks inpainting --mask-out m.mkv", "out.mp4", "m.mkv"),
    written("figures and a profile", "evaluate in.mp4 --json a.json --profile b.png", "a.json", "b.png"),
]


READ_ONLY = [
    refused(
        f"{command.split()[0]} into a read-only folder ({number})",
        command,
        "shut",
        files={"shut": odd.subfolder},
        readonly=("shut",),
        faces="face.mp4" in command,
    )
    for number, command in enumerate(
        (
            "restore in.mp4 shut/out.mp4",
            "restore in.mp4 shut",
            "restore in.mp4 shut/frames",
            "restore face.mp4 out.mp4 --debug-video shut/d.mp4",
            "stc in.mp4 shut/out.mp4 --task deflicker",
            "degrade in.mp4 shut/out.mp4",
            "degrade in.mp4 out.mp4 --tasks inpainting --mask-out shut/m.mp4",
            "evaluate in.mp4 --json shut/a.json",
            "evaluate in.mp4 --profile shut/a.png",
            "demo --out shut/demo",
            "demo --out shut",
        )
    )
]

# What is read and what is written, by a name in place of A; each pair must be refused when both are one file.
READERS = {
    "restore A.mp4 {}": "the clip",
    "restore in.mp4 {} --tasks inpainting --mask A.mp4": "the mask",
    "stc A.mp4 {} --task deflicker": "the clip of stc",
    "degrade A.mp4 {}": "the clip of degrade",
}
ALIASES = {
    "the same name": ("A.mp4", {}),
    "./": ("./A.mp4", {}),
    "..": ("sub/../A.mp4", {"sub": odd.subfolder}),
    "a symbolic link": ("other.mp4", {"other.mp4": odd.link("A.mp4")}),
    "a linked folder": ("way/A.mp4", {"way": odd.link(".")}),
    "a hard link": ("other.mp4", {"other.mp4": odd.hard_link("A.mp4")}),
}
"""Other names of A.mp4, and what makes them."""

OVER_INPUT = [
    refused(
        f"over {what}, by {how}", reader.format(name), name.removeprefix("./"), files={"A.mp4": odd.clip(), **files}
    )
    for (reader, what), (how, (name, files)) in itertools.product(READERS.items(), ALIASES.items())
]

COLLISIONS = [
    ("the mask over the clip", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out A.mp4"),
    ("the mask over the clip, by ./", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out ./A.mp4"),
    ("the mask over the clip, by a link", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out to-A.mp4"),
    ("the mask over the result", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out o.mp4"),
    ("the mask over the result, by ./", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out ./o.mp4"),
    ("the mask over the result, by ..", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out sub/../o.mp4"),
    ("the mask over the result, by a linked folder", "degrade A.mp4 o.mp4 --tasks inpainting --mask-out way/o.mp4"),
    ("the figures over the clip", "evaluate A.mp4 --json A.mp4"),
    ("the figures over the clip, by a link", "evaluate A.mp4 --json to-A.mp4"),
    ("the figures over the truth", "evaluate in.mp4 A.mp4 --json A.mp4"),
    ("the figures over the mask", "evaluate in.mp4 truth.mp4 --mask mask.png --json mask.png"),
    ("the figures over the profile", "evaluate A.mp4 --json p.png --profile p.png"),
    ("the figures over the profile, by ./", "evaluate A.mp4 --json p.png --profile ./p.png"),
    ("the profile over the picture", "evaluate in.png --profile in.png"),
    ("the profile over the picture, by ..", "evaluate in.png --profile sub/../in.png"),
    ("the profile over the truth", "evaluate in.png face.png --profile face.png"),
    ("the profile over the mask", "evaluate in.mp4 truth.mp4 --mask mask.png --profile mask.png"),
    ("the result over the person's picture", "restore in.png face.png --identity face.png"),
    ("the result over the second of two pictures", "restore in.png to-face.png --identity in.png --identity face.png"),
    ("the result over the reference", "restore in.png face.png --reference face.png"),
    ("the frames into the clip's folder", "restore frames frames"),
    ("the result among the clip's frames", "restore frames frames/out.png"),
    ("the result over one of the clip's frames", "restore frames frames/0.png"),
]
FACE_COLLISIONS = [
    ("the result over the chosen person", "restore in.png face.png --faces face.png"),
    ("the debug video over the result", "restore A.mp4 o.mp4 --debug-video o.mp4"),
    ("the debug video over the result, by ./", "restore A.mp4 o.mp4 --debug-video ./o.mp4"),
    ("the debug video over the result, by ..", "restore A.mp4 o.mp4 --debug-video sub/../o.mp4"),
    ("the debug video over the result, by a linked folder", "restore A.mp4 o.mp4 --debug-video way/o.mp4"),
    ("the debug video over the clip", "restore A.mp4 o.mp4 --debug-video A.mp4"),
    ("the debug video over the clip, by a link", "restore A.mp4 o.mp4 --debug-video to-A.mp4"),
    ("the debug video over the mask", "restore in.mp4 o.mp4 --tasks inpainting --mask A.mp4 --debug-video A.mp4"),
    ("the debug video over the kept crop", "restore A.mp4 o.mp4 --keep-crop --debug-video o-crop0.mp4"),
    ("the kept crop over the clip", "restore o-crop0.mp4 o.mp4 --keep-crop"),
    ("the kept crop over the mask", "restore A.mp4 o.mp4 --tasks inpainting --mask o-crop0.mp4 --keep-crop"),
]
PLACES = {
    "A.mp4": odd.portrait_clip(),
    "to-A.mp4": odd.link("A.mp4"),
    "sub": odd.subfolder,
    "way": odd.link("."),
    "to-face.png": odd.link("face.png"),
}


def collision(name, command, *, faces):
    """Two paths of one command that are one file."""
    files = {place: make for place, make in PLACES.items() if place.split("/")[0] in command}
    if "to-face.png" in files:
        files = {"face.png": odd.portrait(), **files}
    if "o-crop0.mp4 " in command + " " and "--debug" not in command:
        files["o-crop0.mp4"] = odd.portrait_clip()
    return refused(f"{name}", command, files=files, faces=faces)


ROWS = [
    *FORMS,
    *WORKS,
    *READ_ONLY,
    *OVER_INPUT,
    *(collision(*row, faces=False) for row in COLLISIONS),
    *(collision(*row, faces=True) for row in FACE_COLLISIONS),
]
