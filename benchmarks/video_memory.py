"""Anonymous memory (RssAnon, Linux only) of SVFR Restore Video over a video of 1280x720, with svfr-tiny on the CPU.

Run by hand, in ComfyUI's Python: .comfyui/venv/bin/python benchmarks/video_memory.py [FRAMES] [STEPS]

Prints the figure of each phase at frame 200 and at the last as soon as it is there, and in the end the highest of each
phase. Detector, networks, node and files are the real ones; crops are of 64x64, and both passes have so many steps (1
by default), because of the time it takes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = ROOT / ".comfyui" / "ComfyUI"
COUNT, STEPS = (int(word) for word in (*sys.argv[1:3], *("3000", "1")[len(sys.argv) - 1 :]))
sys.argv[1:] = ["--cpu"]
sys.path[0] = str(COMFYUI)
os.chdir(COMFYUI)

import comfy.options

comfy.options.enable_args_parsing()

import folder_paths
import numpy as np
from comfy_api.latest import InputImpl


def pack():
    """This repository as ComfyUI loads it."""
    places = [str(ROOT)]
    spec = importlib.util.spec_from_file_location("svfr_pack", ROOT / "__init__.py", submodule_search_locations=places)
    sys.modules["svfr_pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["svfr_pack"])


def anonymous() -> float:
    """MiB of this process that lie in no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def draw(path: Path) -> None:
    """A drawn face that sways through grey."""
    import cv2
    from svfr_pack.svfr_model.media import ClipWriter
    from svfr_pack.svfr_model.synthesis.clips import make_clip

    faces = [cv2.resize(frame, (720, 720)) for frame in make_clip(800_001, 16, 128, view=1.5).frames]
    with ClipWriter(path, Fraction(25), (1280, 720)) as writer:
        for number in range(COUNT):
            frame = np.full((720, 1280, 3), 90, np.uint8)
            left = 280 + round(60 * np.sin(number / 20))
            frame[:, left : left + 720] = faces[abs(number % 30 - 15)]
            writer.write(frame)


def networks() -> dict:
    """The inputs of the node that are networks."""
    from svfr_pack.nodes.model import load_model
    from svfr_pack.nodes.types import ResidentEncoder
    from svfr_pack.nodes.vae import load_vae
    from svfr_pack.svfr_model.faces.detectors.load import load_detector
    from svfr_pack.svfr_model.networks.identity import load_identity_encoder
    from svfr_pack.svfr_model.tiny.model import bundled
    from svfr_pack.svfr_model.weights import embedded

    folder = Path(bundled())
    names = "insightface_glint360k.safetensors", "id_linear.safetensors"
    return {
        "model": load_model(folder / "unet.safetensors", "fp32"),
        "vae": load_vae(folder / "svd_vae.safetensors", "fp32"),
        "detector": load_detector("yunet", embedded("yunet"), None, "cpu", trust_torchscript=False),
        "encoder": ResidentEncoder(load_identity_encoder(*(folder / name for name in names))),
    }


def watch() -> tuple[dict[str, float], dict[tuple[str, int], float]]:
    """The highest figure of each phase, and those at frame 200 and at the last; both fill as the node runs."""
    from svfr_pack.nodes.phases import Phases

    plain, highest, at = Phases.__call__, {}, {}

    def told(self, stage, done, total, preview=None):
        highest[stage] = max(highest.get(stage, 0), anonymous())
        if done in (200, COUNT):
            at[stage, done] = anonymous()
            print(f"{stage:14} {at[stage, done]:6.0f} MiB at frame {done}", flush=True)
        plain(self, stage, done, total, preview)

    Phases.__call__ = told
    return highest, at


def main() -> None:
    pack()
    from svfr_pack.nodes.video import RestoreVideo

    highest, at = watch()
    inputs = RestoreVideo.GET_SCHEMA().inputs
    widgets = {entry.id: entry.default for entry in inputs if getattr(entry, "default", None) is not None}
    widgets |= {"task": "restore", "width": 64, "height": 64, "steps": STEPS, "first_steps": STEPS, "preset": "custom"}
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder_paths.temp_directory = folder_paths.output_directory = name
        draw(Path(name) / "in.mp4")
        RestoreVideo.hidden = None
        RestoreVideo.execute(video=InputImpl.VideoFromFile(f"{name}/in.mp4"), **networks(), **widgets)
    for stage, figure in highest.items():
        marks = [f"{at[stage, done]:.0f} at frame {done}" for done in (200, COUNT) if (stage, done) in at]
        print(f"{stage:14} {figure:6.0f} MiB  {', '.join(marks)}")


if __name__ == "__main__":
    main()
