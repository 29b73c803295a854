"""The pictures of the shipped workflows in ComfyUI's gallery: before and after, as each workflow computes them.

    python tests/support/thumbnails.py [NUMBER ...]

runs the workflows, or those whose names begin with the numbers, in a ComfyUI without weights, with the bundled
svfr-tiny, and writes workflows/*.jpg. Workflows that need files which are not bundled show their sample, and say so.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import conftest  # noqa: F401 - makes svfr_model known
from support.comfy import ROOT, Server, find_comfyui, running_server
from support.workflows import node_of, read_workflow, to_api

from svfr_model.media import open_clip

FOLDER = ROOT / "workflows"
SIZE = (640, 480)
ROOM = 1.5
"""How much wider the picture is than what is in it: the crops of all faces."""
NEEDS_FILES = "STCLoadModel"


def thumbnail(server: Server, path: Path, info: dict) -> np.ndarray:
    """Before at the left and after at the right of a line, (H,W,3) uint8 RGB, of the middle frame."""
    graph = to_api(read_workflow(path), info)
    if any(node["class_type"] == NEEDS_FILES for node in graph.values()):
        picture = cv2.resize(_sample(server, graph), SIZE, interpolation=cv2.INTER_CUBIC)
        return label(picture, "needs BFVR-STC's files", 16)
    history = server.run(graph, 1800)
    (shown,) = history["outputs"][node_of(graph, "SVFRCompare")]["svfr_compare"]
    number, temp = shown["count"] // 2, server.base / "temp"
    before, after = (frame_of(temp / shown[name], number) for name in ("before", "after"))
    before = cv2.resize(before, after.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    box = _around(json.loads((temp / shown["overlay"]).read_text()), number, after.shape)
    return halves(_cut(before, box), _cut(after, box))


def frame_of(path: Path, number: int) -> np.ndarray:
    """One frame of a video."""
    return next(frame for index, frame in enumerate(open_clip(path)) if index == number)


def halves(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Two pictures of one size as one, enlarged: the left half of the one and the right half of the other."""
    pictures = [cv2.resize(picture, SIZE, interpolation=cv2.INTER_CUBIC) for picture in (before, after)]
    middle = SIZE[0] // 2
    both = np.concatenate([pictures[0][:, :middle], pictures[1][:, middle:]], axis=1)
    both[:, middle - 2 : middle + 2] = 255
    return label(label(both, "before", 16), "after", SIZE[0] - 96)


def label(picture: np.ndarray, words: str, x: int) -> np.ndarray:
    """White letters with a dark outline at the lower edge."""
    marked = np.ascontiguousarray(picture)
    for ink, width in ((0, 6), (255, 2)):
        place = (x, SIZE[1] - 18)
        cv2.putText(marked, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (ink,) * 3, width, cv2.LINE_AA)
    return marked


def _sample(server: Server, graph: dict) -> np.ndarray:
    """A frame of the sample clip."""
    sample = node_of(graph, "SVFRSampleClip")
    saved = {"class_type": "SaveImage", "inputs": {"images": [sample, 1], "filename_prefix": "sample"}}
    images = server.run({sample: graph[sample], "saved": saved})["outputs"]["saved"]["images"]
    return cv2.imread(str(server.base / "output" / images[len(images) // 2]["filename"]))[..., ::-1]


def _around(marks: dict, number: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of a frame with every face that is in it: x1, y1, x2, y2 of the thumbnail's shape."""
    height, width = shape[:2]
    there = [t for t in marks["tracks"] if t["start"] <= number < t["start"] + len(t["crops"])]
    corners = np.array([t["crops"][number - t["start"]] for t in there]).reshape(-1, 2)
    low, high = (corners.min(0), corners.max(0)) if there else (np.zeros(2), np.array([width, height]))
    wide = min(max(high[0] - low[0], (high[1] - low[1]) * SIZE[0] / SIZE[1]) * ROOM, width, height * SIZE[0] / SIZE[1])
    high_ = wide * SIZE[1] / SIZE[0]
    x, y = np.clip((low + high) / 2, [wide / 2, high_ / 2], [width - wide / 2, height - high_ / 2])
    return round(x - wide / 2), round(y - high_ / 2), round(x + wide / 2), round(y + high_ / 2)


def _cut(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    return picture[max(0, y1) : y2, max(0, x1) : x2]


def main() -> None:
    """Write the pictures of all workflows, or of those named."""
    with tempfile.TemporaryDirectory() as base, running_server(find_comfyui(), Path(base)) as server:
        info = json.loads(server.get("/object_info"))
        for path in sorted(FOLDER.glob("*.json")):
            if not sys.argv[1:] or path.stem.split()[0] in sys.argv[1:]:
                picture = thumbnail(server, path, info)[..., ::-1]
                cv2.imwrite(str(path.with_suffix(".jpg")), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main()
