"""What a user gives as a mask or as the picture of a person."""

from __future__ import annotations

from support import odd_files as odd
from support.faults import Fault

INPAINT = "restore in.mp4 out.mp4 --tasks inpainting"


def masked(name, make, *says, source="mask.png", **more):
    """A mask that works, and what is said of it."""
    more = {"code": 0, "writes": ("out.mp4",), **more}
    return Fault(f"mask: {name}", f"{INPAINT} --mask {source}", {source: make}, says=says, **more)


def refused(name, make, *says, source="mask.png", **more):
    """A mask that cannot be used."""
    return masked(name, make, source, *says, source=source, **{"code": 2, "writes": (), **more})


def faces(name, command, files, *says, **more):
    """A mask or a picture where faces are looked for."""
    return Fault(f"mask: {name}", f"restore face.mp4 out.mp4 {command}", files, says=says, faces=True, **more)


ROWS = [
    masked("one for all frames", odd.mask(), never=("WARNING",)),
    masked("one for each frame", odd.mask_clip(5), source="mask.mkv", never=("WARNING",)),
    masked("of half the size", odd.mask(24, 32), never=("WARNING",)),
    masked("in a folder", odd.folder(5), source="masks"),
    masked("drawn in the alpha channel", odd.alpha_mask(), "drawn in the alpha channel", "transparent"),
    masked("without anything in it", odd.mask(value=0), "mask.png: the mask is empty"),
    masked("of another shape", odd.mask(64, 64), "64x64", "64x48", "stretched"),
    masked("of one pixel", odd.mask(1, 1, 255), "1x1", "stretched"),
    refused("that is not there", odd.link("absent.png"), "no such file"),
    refused("of text", odd.text, "not a picture"),
    refused("of no bytes", odd.empty, "empty (0 bytes)"),
    refused("of three frames for five", odd.mask_clip(3), "3 frames", "the clip 5", source="mask.mkv"),
    refused("in a folder without pictures", odd.full_folder, "no picture", source="masks"),
    refused("of sound", odd.sound_only(), "no video stream", source="mask.m4a"),
    Fault(
        "mask: without the task for it",
        "restore in.mp4 out.mp4 --mask mask.png",
        code=0,
        says=("not among the tasks",),
        writes=("out.mp4",),
    ),
    Fault("mask: the task without one", INPAINT, code=0, says=("without a mask",), writes=("out.mp4",)),
    faces(
        "far from every face",
        "--tasks inpainting --mask mask.png",
        {"mask.png": odd.corner_mask(256)},
        "outside every face crop",
        "margin",
        code=0,
        writes=("out.mp4",),
    ),
    faces(
        "on the face",
        "--tasks inpainting --mask mask.png",
        {"mask.png": odd.mask(256, 256)},
        code=0,
        writes=("out.mp4",),
        never=("WARNING",),
    ),
    faces(
        "a reference that is not there", "--reference absent.png", {}, "absent.png", "no such file", never=("detect",)
    ),
    faces(
        "a reference without a face",
        "--reference in.png",
        {},
        "No face was found in in.png",
        code=4,
        never=("detect:",),
    ),
    faces("a reference that is a clip", "--reference in.mp4", {}, "in.mp4", "not a picture", never=("detect:",)),
    faces("an identity that is not there", "--identity absent.png", {}, "absent.png", never=("detect:",)),
    faces(
        "an identity without a face", "--identity in.png", {}, "No face was found in in.png", code=4, never=("detect:",)
    ),
    faces(
        "an identity of several pictures in a file",
        "--identity pages.tif",
        {"pages.tif": odd.animated(".tif")},
        "pages.tif",
        "3 pictures",
        never=("detect:",),
    ),
]
