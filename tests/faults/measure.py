"""The other commands: evaluate, train, demo, and what they are given."""

from __future__ import annotations

import json

from support import bad_weights
from support import odd_files as odd
from support.faults import Fault


def psnr_is_finite(folder):
    """a.json holds a PSNR that can be averaged."""
    value = json.loads((folder / "a.json").read_text())["metrics"]["psnr"]["value"]
    assert isinstance(value, float)
    assert 0 < value <= 100


def measured(name, *says, restored=None, truth=None, options="", **more):
    """evaluate with these two clips."""
    files = {}
    if restored is not None:
        files["out.mkv"] = restored
    if truth is not None:
        files["truth.mkv"] = truth
    command = f"evaluate {'out.mkv' if restored else 'in.mp4'} {'truth.mkv' if truth else 'truth.mp4'} {options}"
    return Fault(f"evaluate {name}", command, files, says=says, **more)


EVALUATE = [
    Fault("evaluate nothing", "evaluate", says=("RESTORED",)),
    Fault("evaluate what is not there", "evaluate absent.mp4", says=("absent.mp4",)),
    Fault("evaluate without its truth", "evaluate in.mp4 absent.mp4", says=("absent.mp4",)),
    Fault("evaluate without its mask", "evaluate in.mp4 truth.mp4 --mask absent.png", says=("absent.png",)),
    Fault("evaluate with a mask and no truth", "evaluate in.mp4 --mask mask.png", says=("--mask", "TRUTH")),
    Fault("evaluate with three clips", "evaluate in.mp4 truth.mp4 in.mp4", says=("unrecognized",)),
    measured("text", "out.mkv", restored=odd.text),
    measured("against text", "truth.mkv", truth=odd.text),
    measured("clips of two sizes", "64x48", "32x32", truth=odd.clip(5, 32, 32, suffix=".mkv")),
    measured("clips of two lengths", "5 frames", "3 frames", truth=odd.clip(3, suffix=".mkv")),
    Fault(
        "evaluate with two masks for five frames",
        "evaluate in.mp4 truth.mp4 --mask m.mkv",
        {"m.mkv": odd.mask_clip(2)},
        says=("2 frames", "5"),
    ),
    Fault(
        "evaluate with an empty mask",
        "evaluate in.mp4 truth.mp4 --mask m.png",
        {"m.png": odd.mask(value=0)},
        code=0,
        prints=("PSNR", "mask"),
    ),
    Fault("evaluate with a threshold of nan", "evaluate in.mp4 --threshold nan", says=("threshold",)),
    Fault("evaluate on no device", "evaluate in.mp4 --device cuda:99", says=("cuda:99",)),
    Fault("evaluate with another detector", "evaluate in.mp4 --detector haar", says=("--detector", "yunet")),
    Fault(
        "evaluate one frame",
        "evaluate in.png truth.png --json a.json",
        {"in.png": odd.picture(), "truth.png": odd.mask(mode="RGB")},
        code=0,
        writes=("a.json",),
        prints=("PSNR",),
    ),
    Fault(
        "evaluate 1x1",
        "evaluate in.png truth.png",
        {"in.png": odd.picture(1, 1), "truth.png": odd.picture(1, 1)},
        says=("SSIM", "11x11"),
    ),
    Fault(
        "evaluate a clip with itself",
        "evaluate in.mp4 in.mp4 --json a.json",
        code=0,
        writes=("a.json",),
        prints=("100",),
        never=("inf",),
    ),
    Fault(
        "evaluate a clip with one equal frame",
        "evaluate a.mkv b.mkv --json a.json",
        {
            "a.mkv": odd.clip(1, suffix=".mkv", codec="ffv1", pixels="gray"),
            "b.mkv": odd.clip(1, suffix=".mkv", codec="ffv1", pixels="gray"),
        },
        code=0,
        writes=("a.json",),
        never=("inf",),
        check=psnr_is_finite,
    ),
    Fault("evaluate without faces", "evaluate in.mp4 truth.mp4", code=0, prints=("No face was found",)),
    Fault(
        "evaluate without networks",
        "evaluate in.mp4 truth.mp4 --weights nowhere",
        code=0,
        prints=("Not computed", "IDS"),
    ),
]

OWN = {"own": bad_weights.networks("yunet", None)}

TRAIN = [
    Fault("train without anything", "train", says=("CONFIG",)),
    Fault("train what is not there", "train absent.json", says=("absent.json",)),
    Fault("train a folder", "train c.json", {"c.json": odd.full_folder}, says=("c.json",)),
    Fault("train a file of no bytes", "train c.json", {"c.json": odd.empty}, says=("c.json",)),
    Fault("train text", "train c.json", {"c.json": odd.text}, says=("c.json", "cannot be read")),
    Fault("train bytes that are no text", "train c.json", {"c.json": odd.data(b"\xff\xfe\x00\x80")}, says=("c.json",)),
    Fault("train with another suffix", "train c.yaml", {"c.yaml": odd.text}, says=("c.yaml", ".json or .toml")),
    Fault("train a list", "train c.json", {"c.json": odd.data("[1]")}, says=("c.json", "table of settings")),
    Fault("train two million brackets", "train c.json", {"c.json": odd.data("[" * 2_000_000)}, says=("c.json",)),
    Fault("train two things at once", "train c.json --tiny there", {"c.json": odd.text}, says=("not allowed",)),
    Fault("train broken TOML", "train c.toml", {"c.toml": odd.data("a = = 1")}, says=("c.toml",)),
    *(
        Fault(
            f"train with {name}",
            "train c.json",
            {"c.json": odd.settings(**{"output": "o", "weights": "w", **values})},
            says=says,
        )
        for name, values, says in (
            ("a window of 3", {"window": 3}, ("window",)),
            ("a window in words", {"window": "four"}, ("window",)),
            ("no clips", {"clips": 0}, ("clips",)),
            ("a chance of 2", {"clips": 2, "drop_both": 2}, ("drop_both",)),
            ("a setting that is not known", {"windows": 4}, ("windows", "Known")),
            ("an output that is a number", {"output": 3}, ("output",)),
            ("an empty output", {"clips": 2, "output": ""}, ("output",)),
            ("a rate of 0", {"clips": 2, "loop": {"rate": 0}}, ("rate",)),
            ("a rate of nan", {"clips": 2, "loop": {"rate": float("nan")}}, ("rate",)),
            ("no steps", {"clips": 2, "loop": {"steps": 0}}, ("steps",)),
            ("another precision", {"clips": 2, "loop": {"mixed_precision": "fp8"}}, ("mixed_precision",)),
            ("crf of 60", {"clips": 2, "low_quality": {"crf": [1, 60]}}, ("crf",)),
            ("a falling range", {"clips": 2, "low_quality": {"sigma": [5, 2]}}, ("sigma",)),
            ("footage of a landmark model that is missing", {"clips": 2, "videos": "v"}, ("landmark_model",)),
            ("no number of workers", {"workers": -1}, ("workers",)),
            ("a cache for drawn clips", {"latent_cache": True}, ("latent_cache", "videos")),
            ("LoRA and a fresh network", {"clips": 2, "fresh": True, "lora_rank": 4}, ("LoRA",)),
        )
    ),
    Fault("train without its output", "train c.json", {"c.json": odd.settings(weights="w")}, says=("output",)),
    Fault(
        "train without networks",
        "train c.json",
        {"c.json": odd.settings(output="o", weights="w", clips=2)},
        code=3,
        says=("unet",),
    ),
    Fault(
        "train without videos",
        "train c.json",
        {"c.json": odd.settings(output="o", weights="own", clips=2, videos="v", weight_prior=0), **OWN},
        says=("v is not a folder",),
    ),
    Fault(
        "train on videos that are all broken",
        "train c.json",
        {
            "c.json": odd.settings(output="o", weights="own", videos="v", weight_prior=0, workers=0),
            "v": odd.full_folder,
            "v/a.mp4": odd.text,
            "v/b.mp4": odd.empty,
            **OWN,
        },
        code=4,
        says=("any of 2 videos", "2 of them cannot be read", "a.mp4"),
        writes=("o", "o/config.json", "o/footage", "o/footage/clips", "o/footage/clips.jsonl", "o/footage/report.json"),
    ),
    Fault(
        "train onto a file",
        "train c.json",
        {"c.json": odd.settings(output="o", weights="own", clips=2), "o": odd.text, **OWN},
        says=("o",),
    ),
    Fault(
        "train into a read-only folder",
        "train c.json",
        {"c.json": odd.settings(output="shut/o", weights="own", clips=2), "shut": odd.subfolder, **OWN},
        says=("shut",),
        readonly=("shut",),
    ),
    Fault("train stc-tiny onto a file", "train --stc-tiny o", {"o": odd.text}, says=("o",)),
    Fault("train svfr-tiny onto a file", "train --tiny o", {"o": odd.text}, says=("o",)),
    Fault("train and measure no clips", "train --evaluate-tiny --clips 0", says=("clips",)),
    Fault("train and measure -1 clips", "train --evaluate-tiny --clips -1", says=("clips",)),
]

DEMO = [
    Fault("demo with a word too many", "demo here", says=("unrecognized",)),
    Fault("demo with a seed of -1", "demo --seed -1", says=("seed",)),
    Fault("demo with a seed in words", "demo --seed one", says=("--seed",)),
    Fault("demo without its detector", "demo --detector-weights absent.onnx", code=3, says=("absent.onnx",)),
    Fault(
        "demo with a detector of text", "demo --detector-weights d.onnx", {"d.onnx": odd.text}, code=3, says=("d.onnx",)
    ),
    Fault("weights without a folder", "weights download --weights=", says=("--weights: the path is empty",)),
    Fault("demo without a name for its folder", ("demo", "--out", ""), says=("--out",)),
]

ROWS = [*EVALUATE, *TRAIN, *DEMO]
