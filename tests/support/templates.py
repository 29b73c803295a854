"""The shipped workflows, written by one script, so that they agree with each other and with the nodes' widgets.

    python tests/support/templates.py

starts ComfyUI and writes workflows/*.json anew. tests/support/thumbnails.py makes their pictures.
tests/comfy/server/test_templates.py sees whether both have been done.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.comfy import ROOT, find_comfyui, running_server
from support.template_notes import STC_ONLY, note
from support.workflows import widgets

FOLDER = ROOT / "workflows"
VERSION = "0.2.0"
CORE = {"Video Slice", "GetVideoComponents", "CreateVideo", "SaveVideo", "PreviewImage", "ImageScale", "ImageFromBatch"}
CORE |= {"KSampler", "VAEDecode", "LoadVideo"}
NOTE, COLUMN, GAP = 350, 290, 30
TITLE = 30
"""Height of a node's title, which lies above its position."""

Wire = tuple[int, str]
"""A node's number and the name of one of its outputs."""


@dataclass
class Sheet:
    """A workflow that grows node by node. info: what a server says of every node."""

    name: str
    info: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)

    def note(self, text: str, height: int) -> None:
        """What the artist reads first, at the left."""
        look = {"title": "Read me", "color": "#432", "bgcolor": "#653"}
        self.nodes.append(self._node("MarkdownNote", (0, 0), (NOTE, height), widgets_values=[text], **look))

    def add(
        self,
        kind: str,
        place: tuple[int, int],
        size: tuple[int, int],
        wires: dict[str, Wire] | None = None,
        title: str | None = None,
        bypassed: bool = False,
        **values: Any,
    ) -> int:
        """A node with its widgets at their defaults but for values; returns its number."""
        number = len(self.nodes) + 1
        info = self.info[kind]
        entry = self._node(kind, place, size, widgets_values=self._values(kind, values))
        outputs = zip(info["output_name"], info["output"], strict=True)
        entry["outputs"] = [{"name": name, "type": type_, "links": None} for name, type_ in outputs]
        pack = {"cnr_id": "comfy-core", "ver": "0.8.0"} if kind in CORE else {"cnr_id": "svfr", "ver": VERSION}
        entry["properties"] = {"Node name for S&R": kind, **pack}
        entry["mode"] = 4 if bypassed else 0
        if title is not None:
            entry["title"] = title
        self.nodes.append(entry)
        self._wire(entry, wires or {})
        return number

    def saved(self) -> dict[str, Any]:
        """The workflow as the frontend saves it."""
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"svfr/{self.name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {"ds": {"scale": 0.75, "offset": [120, 130]}},
            "version": 0.4,
        }

    def _node(self, kind: str, place: tuple[int, int], size: tuple[int, int], **more: Any) -> dict[str, Any]:
        number = len(self.nodes) + 1
        head = {"id": number, "type": kind, "pos": list(place), "size": list(size), "flags": {}, "order": number - 1}
        return {**head, "mode": 0, "inputs": [], "outputs": [], "properties": {}, **more}

    def _values(self, kind: str, values: dict[str, Any]) -> list[Any]:
        """Values by position, with those that the frontend adds to a widget."""
        found, left = [], dict(values)
        for name, options in widgets(self.info[kind]):
            found.append(left.pop(name, self._default(kind, name, options)))
            if options.get("control_after_generate"):
                found.append("fixed")
            if options.get("image_upload") or options.get("video_upload"):
                found.append("image")
        if left:
            raise KeyError(f"{kind} has no widgets {sorted(left)}")
        return found

    def _default(self, kind: str, name: str, options: dict[str, Any]) -> Any:
        if "default" in options:
            return options["default"]
        entry = {**self.info[kind]["input"]["required"], **self.info[kind]["input"].get("optional", {})}[name]
        choices = entry[0] if isinstance(entry[0], list) else options["options"]
        first = choices[0]
        return first["key"] if isinstance(first, dict) else first

    def _wire(self, entry: dict[str, Any], wires: dict[str, Wire]) -> None:
        """Sockets for all inputs without a widget, and for wired widgets, in the node's order."""
        info, own = self.info[entry["type"]], {name for name, _ in widgets(self.info[entry["type"]])}
        left = dict(wires)
        for kind in ("required", "optional"):
            for name, (type_, *_) in info["input"].get(kind, {}).items():
                if name in own and name not in left:
                    continue
                shown = type_ if isinstance(type_, str) else "COMBO"
                socket: dict[str, Any] = {"name": name, "type": shown, "link": None}
                if kind == "optional":
                    socket["shape"] = 7
                if name in own:
                    socket["widget"] = {"name": name}
                entry["inputs"].append(socket)
                if name in left:
                    socket["link"] = self._link(left.pop(name), entry["id"], len(entry["inputs"]) - 1)
        if left:
            raise KeyError(f"{entry['type']} has no inputs {sorted(left)}")

    def _link(self, source: Wire, target: int, slot: int) -> int:
        number = len(self.links) + 1
        node = self.nodes[source[0] - 1]
        names = [output["name"] for output in node["outputs"]]
        output = node["outputs"][names.index(source[1])]
        output["links"] = [*(output["links"] or []), number]
        self.links.append([number, source[0], names.index(source[1]), target, slot, output["type"]])
        return number


def column(number: int) -> int:
    """Where the left edge of a column is."""
    return NOTE + GAP + number * (COLUMN + GAP)


def networks(sheet: Sheet) -> int:
    """All networks, at the top of the first column."""
    return sheet.add("SVFRLoadNetworks", (column(0), 0), (COLUMN, 150))


def passes(number: int, *names: str) -> dict[str, Wire]:
    """Inputs wired to outputs of the same name of one node."""
    return {name: (number, name) for name in names}


def video_sheet(name: str, info: dict[str, Any], note_of: str, *, sample: dict[str, Any], **values: Any) -> Sheet:
    """Clip, SVFR Restore Video, Compare and Save Video."""
    sheet = Sheet(name, info)
    sheet.note(note(note_of), 860)
    loaded = networks(sheet)
    clip = sheet.add("SVFRSampleClip", (column(0), 310), (COLUMN, 270), **sample)
    source = (clip, "video")
    if "scratches" not in sample.get("damage", ""):  # whose masks would be more than the frames that are left
        trim = sheet.add(
            *("Video Slice", (column(0), 640), (COLUMN, 160)),
            *({"video": source}, "Trim to 1 second (bypassed: Ctrl+B)", True),
            duration=1.0,  # ComfyUI refuses more than the sample clip has
        )
        source = (trim, "VIDEO")
    wires = {"video": source, **passes(loaded, "model", "vae", "detector", "encoder")}
    if "scratches" in sample.get("damage", ""):
        wires["mask"] = (clip, "mask")
    restored = sheet.add("SVFRRestoreVideo", (column(1), 0), (COLUMN + 40, 500), wires, preset="fast", **values)
    prefix = f"video/{name[3:].replace(' ', '_')}"
    sheet.add("SaveVideo", (column(1), 570), (COLUMN + 40, 360), {"video": (restored, "video")}, filename_prefix=prefix)
    compared = {"before": source, "after": (restored, "video"), "tracks": (restored, "tracks")}
    if "mask" in wires:
        compared["mask"] = wires["mask"]
    sheet.add("SVFRCompare", (column(2) + 40, 0), (720, 860), compared)
    return sheet


def wired_sheet(name: str, info: dict[str, Any], note_of: str, *, sample: dict[str, Any], **values: Any) -> Sheet:
    """Face Crop, Restore and Paste Back, with SVFR Tasks set by values that begin with task_."""
    masked = "scratches" in sample["damage"]
    tasks = {key[5:]: values.pop(key) for key in list(values) if key.startswith("task_")}
    sheet = Sheet(name, info)
    sheet.note(note(note_of), 1100)
    loaded = networks(sheet)
    clip = sheet.add("SVFRSampleClip", (column(0), 310), (COLUMN, 270), **sample)
    parts = sheet.add("GetVideoComponents", (column(0), 640), (COLUMN, 130), {"video": (clip, "video")})
    frames = {"frames": (parts, "images"), "detector": (loaded, "detector"), "encoder": (loaded, "encoder")}
    frames |= {"width": (loaded, "size"), "height": (loaded, "size")}
    frames |= {"mask": (clip, "mask")} if masked else {}
    crop = sheet.add("SVFRFaceCrop", (column(1), 0), (COLUMN, 400), frames, **values)
    sheet.add("PreviewImage", (column(1), 470), (COLUMN, 300), {"images": (crop, "preview")}, "Faces found")
    task = sheet.add("SVFRTasks", (column(2), 0), (COLUMN, 140), **tasks)
    wires = {**passes(loaded, "model", "vae", "detector", "encoder"), "crops": (crop, "crops"), "task": (task, "task")}
    wires |= {"track": (crop, "tracks"), **({"mask": (crop, "masks")} if masked else {})}
    restored = sheet.add("SVFRRestore", (column(2), 210), (COLUMN, 420), wires, preset="fast")
    back = {"frames": (parts, "images"), "restored": (restored, "frames"), "tracks": (crop, "tracks")}
    back |= {"task": (task, "task"), **({"masks": (crop, "masks")} if masked else {})}
    pasted = sheet.add("SVFRPasteBack", (column(3), 0), (COLUMN, 330), back)
    video = created(sheet, parts, (pasted, "frames"), (column(3), 400))
    compared = {"before": (clip, "video"), "after": (video, "VIDEO"), "tracks": (crop, "tracks")}
    compared |= {"mask": (clip, "mask")} if masked else {}
    ending(sheet, video, compared)
    return sheet


def created(sheet: Sheet, parts: int, frames: Wire, place: tuple[int, int]) -> int:
    """Frames as a video, with sound and rate of the source."""
    wires = {"images": frames, "fps": (parts, "fps"), "audio": (parts, "audio")}
    return sheet.add("CreateVideo", place, (COLUMN, 150), wires)


def ending(sheet: Sheet, video: int, compared: dict[str, Wire]) -> None:
    """Save Video and Compare, below the other nodes."""
    prefix = f"video/{sheet.name[3:].replace(' ', '_')}"
    sheet.add("SaveVideo", (column(1), 860), (COLUMN, 320), {"video": (video, "VIDEO")}, filename_prefix=prefix)
    sheet.add("SVFRCompare", (column(2), 700), (2 * COLUMN + GAP + 240, 480), compared)


def whole_sheet(
    name: str, info: dict[str, Any], note_of: str, *, sample: dict[str, Any], person: bool, **tasks: Any
) -> Sheet:
    """Whole frames in two passes, each a node. person: with a picture of the person."""
    masked = "scratches" in sample["damage"]
    sheet = Sheet(name, info)
    sheet.note(note(note_of), 1100)
    loaded = networks(sheet)
    clip = sheet.add("SVFRSampleClip", (column(0), 310), (COLUMN, 270), clip="drawn face, close up", **sample)
    parts, scaled = whole_frames(sheet, loaded, clip)
    task = sheet.add("SVFRTasks", (column(1), 0), (COLUMN, 140), **tasks)
    first = sheet.add(
        *("ImageFromBatch", (column(1), 210), (COLUMN, 120), {"image": (scaled, "IMAGE")}, "First 16 frames"), length=16
    )
    shared = {**passes(loaded, "model", "vae"), "task": (task, "task"), **({"mask": (clip, "mask")} if masked else {})}
    if person:
        wires = {"pictures": (clip, "portrait"), **passes(loaded, "encoder", "detector")}
        shared["identity"] = (sheet.add("SVFRIdentity", (column(1), 400), (COLUMN, 140), wires), "identity")
    sample1 = sheet.add(
        "SVFRSampler", (column(2), 0), (COLUMN, 420), {**shared, "crops": (first, "IMAGE")}, "First pass", preset="fast"
    )
    chosen = {"frames": (sample1, "frames"), **passes(loaded, "detector", "encoder")}
    chosen = sheet.add("SVFRSelfReference", (column(1), 590), (COLUMN, 200), chosen)
    second = {"crops": (scaled, "IMAGE"), **passes(chosen, "reference", "identity"), **shared}
    sample2 = sheet.add("SVFRSampler", (column(3), 0), (COLUMN, 420), second, "Second pass", seed=78, preset="fast")
    video = created(sheet, parts, (sample2, "frames"), (column(3), 490))
    compared = {"before": (clip, "video"), "after": (video, "VIDEO"), **({"mask": (clip, "mask")} if masked else {})}
    ending(sheet, video, compared)
    return sheet


def filled_sheet(name: str, info: dict[str, Any], note_of: str) -> Sheet:
    """Whole frames with a mask, by SVFR Restore."""
    sheet = Sheet(name, info)
    sheet.note(note(note_of), 1000)
    loaded = networks(sheet)
    sample = {"clip": "drawn face, close up", "damage": "scratches"}
    clip = sheet.add("SVFRSampleClip", (column(0), 310), (COLUMN, 270), **sample)
    parts, scaled = whole_frames(sheet, loaded, clip)
    task = sheet.add("SVFRTasks", (column(1), 0), (COLUMN, 150), restore=False, inpaint=True)
    wires = {**passes(loaded, "model", "vae", "detector", "encoder"), "crops": (scaled, "IMAGE")}
    wires |= {"task": (task, "task"), "mask": (clip, "mask")}
    restored = sheet.add("SVFRRestore", (column(1), 220), (COLUMN, 420), wires, preset="fast")
    video = created(sheet, parts, (restored, "frames"), (column(1), 710))
    sheet.add(
        *("SaveVideo", (column(0), 1070), (COLUMN, 160), {"video": (video, "VIDEO")}),
        filename_prefix=f"video/{name[3:].replace(' ', '_')}",
    )
    compared = {"before": (clip, "video"), "after": (video, "VIDEO"), "mask": (clip, "mask")}
    sheet.add("SVFRCompare", (column(2), 0), (720, 860), compared)
    return sheet


def whole_frames(sheet: Sheet, loaded: int, clip: int) -> tuple[int, int]:
    """The clip's frames at the height that the network knows: the nodes with its parts and with the frames."""
    parts = sheet.add("GetVideoComponents", (column(0), 640), (COLUMN, 130), {"video": (clip, "video")})
    scaled = sheet.add(
        *("ImageScale", (column(0), 830), (COLUMN, 180)),
        *({"image": (parts, "images"), "height": (loaded, "size")}, "To the height that the network knows"),
        upscale_method="lanczos",
        width=0,
        crop="disabled",
    )
    return parts, scaled


def ksampler_sheet(name: str, info: dict[str, Any], note_of: str) -> Sheet:
    """With ComfyUI's own KSampler, on 16 frames."""
    sheet = Sheet(name, info)
    sheet.note(note(note_of), 1100)
    loaded = networks(sheet)
    sample = {"length": 16, "damage": "low quality, scratches"}
    clip = sheet.add("SVFRSampleClip", (column(0), 310), (COLUMN, 270), **sample)
    parts = sheet.add("GetVideoComponents", (column(0), 640), (COLUMN, 130), {"video": (clip, "video")})
    first = sheet.add(
        *("ImageFromBatch", (column(0), 830), (COLUMN, 120), {"image": (parts, "images")}, "First 16 frames"), length=16
    )
    frames = {"frames": (first, "IMAGE"), "detector": (loaded, "detector"), "mask": (clip, "mask")}
    frames |= {"width": (loaded, "size"), "height": (loaded, "size")}
    crop = sheet.add("SVFRFaceCrop", (column(1), 0), (COLUMN, 400), frames)
    wires = {"pictures": (clip, "portrait"), **passes(loaded, "encoder", "detector")}
    person = sheet.add("SVFRIdentity", (column(1), 470), (COLUMN, 140), wires)
    task = sheet.add("SVFRTasks", (column(2), 0), (COLUMN, 140), inpaint=True)
    told = {**passes(loaded, "model", "vae", "detector"), "crops": (crop, "crops"), "task": (task, "task")}
    told |= {"reference": (clip, "portrait"), "identity": (person, "identity"), "mask": (crop, "masks")}
    said = sheet.add("SVFRConditioning", (column(2), 210), (COLUMN, 240), told)
    sampled = {"model": (loaded, "model"), "latent_image": (said, "latent"), **passes(said, "positive", "negative")}
    widgets_of = {"seed": 77, "steps": 12, "cfg": 2.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0}
    sampled = sheet.add("KSampler", (column(3), 0), (COLUMN, 330), sampled, **widgets_of)
    decoded = {"samples": (sampled, "LATENT"), "vae": (loaded, "vae")}
    decoded = sheet.add("VAEDecode", (column(3), 400), (COLUMN, 80), decoded)
    back = {"frames": (first, "IMAGE"), "restored": (decoded, "IMAGE"), **passes(crop, "tracks", "masks")}
    pasted = sheet.add("SVFRPasteBack", (column(4), 0), (230, 330), {**back, "task": (task, "task")})
    video = created(sheet, parts, (pasted, "frames"), (column(3), 510))
    compared = {"before": (clip, "video"), "after": (video, "VIDEO"), "tracks": (crop, "tracks")}
    ending(sheet, video, {**compared, "mask": (clip, "mask")})
    return sheet


def stc_sheet(
    name: str,
    info: dict[str, Any],
    note_of: str,
    *steps: tuple[str, str],
    sample: dict[str, Any],
    svfr: bool = False,
) -> Sheet:
    """STC Enhance Video for each of the steps, (task, mode), and Restore Video after them if svfr."""
    sheet = Sheet(name, info)
    sheet.note(note(note_of), 1000)
    clip = sheet.add("SVFRSampleClip", (column(0), 0), (COLUMN, 260), **sample)
    detector = sheet.add("SVFRLoadFaceDetector", (column(0), 330), (COLUMN, 130), detector_name="YuNet (bundled)")
    source = (clip, "video")
    for number, (task, mode) in enumerate(steps):
        file = STC_ONLY[task]
        loaded = sheet.add("STCLoadModel", (column(0), 530 + 210 * number), (COLUMN, 140), stc_name=file, task=task)
        wires = {"video": source, "stc_model": (loaded, "stc_model"), "detector": (detector, "detector")}
        place = (column(1), 400 * number)
        enhanced = sheet.add("STCEnhanceVideo", place, (COLUMN, 320), wires, mode=mode)
        source = (enhanced, "video")
    compared = {"before": (clip, "video")}
    if svfr:
        loaded = sheet.add("SVFRLoadNetworks", (column(0), 740), (COLUMN, 150))
        wires = {"video": source, **passes(loaded, "model", "vae", "detector", "encoder")}
        restored = sheet.add("SVFRRestoreVideo", (column(1), 400), (COLUMN, 430), wires, preset="fast")
        source = (restored, "video")
        compared["tracks"] = (restored, "tracks")
    prefix = f"video/{name[3:].replace(' ', '_')}"
    sheet.add("SaveVideo", (column(2), 0), (COLUMN, 360), {"video": source}, filename_prefix=prefix)
    sheet.add("SVFRCompare", (column(2), 430), (720, 570), {**compared, "after": source})
    return sheet


def sheets(info: dict[str, Any]) -> list[Sheet]:
    """All of them, in their order."""
    return [*video_sheets(info), *wired_sheets(info), *stc_sheets(info)]


def video_sheets(info: dict[str, Any]) -> list[Sheet]:
    """From VIDEO to VIDEO in one node."""
    two = {"clip": "two drawn people", "damage": "low quality"}
    filled = {"sample": {"damage": "low quality, scratches"}, "task": "restore + inpaint"}
    return [
        video_sheet("01 Restore faces in a video", info, "restore_video", sample={"damage": "low quality"}),
        video_sheet("02 Restore everyone in a video", info, "everyone_video", sample=two, choice="all"),
        video_sheet("03 Fill in missing parts of a face", info, "inpaint_video", **filled),
    ]


def wired_sheets(info: dict[str, Any]) -> list[Sheet]:
    """Each step a node."""
    low, two = {"damage": "low quality"}, {"clip": "two drawn people", "damage": "low quality"}
    filled = {"sample": {"damage": "low quality, scratches"}, "task_inpaint": True}
    colors = {"sample": {"damage": "low quality, no colours"}, "person": False, "colorize": True}
    every = {"sample": {"damage": "low quality, no colours, scratches"}, "colorize": True, "inpaint": True}
    return [
        wired_sheet("04 Restore step by step", info, "restore", sample=low),
        wired_sheet("05 Restore everyone step by step", info, "everyone", sample=two, choice="all"),
        wired_sheet("06 Fill in step by step", info, "inpaint", **filled),
        whole_sheet("07 Restore and colorize whole frames", info, "colorize", **colors),
        filled_sheet("08 Fill in whole frames", info, "whole"),
        whole_sheet("09 Restore, colorize and fill in with a portrait", info, "all_three", person=True, **every),
        ksampler_sheet("10 With ComfyUI's KSampler", info, "ksampler"),
    ]


def stc_sheets(info: dict[str, Any]) -> list[Sheet]:
    """With BFVR-STC, which needs its published files."""
    low, flicker = {"damage": "low quality"}, {"damage": "flicker"}
    steady, better = ("deflicker", "whole frame"), ("bfr", "face crops")
    return [
        stc_sheet("11 STC, restore a face quickly", info, "stc_restore", better, sample=low),
        stc_sheet("12 STC, remove flicker", info, "stc_deflicker", steady, sample=flicker),
        stc_sheet("13 STC, remove flicker, then restore", info, "stc_both", steady, better, sample=flicker),
        stc_sheet("14 STC first, then SVFR", info, "stc_then_svfr", steady, sample=flicker, svfr=True),
    ]


def write(info: dict[str, Any], folder: Path = FOLDER) -> list[Path]:
    """Write every workflow anew; returns their paths."""
    paths = []
    for sheet in sheets(info):
        path = folder / f"{sheet.name}.json"
        path.write_text(json.dumps(sheet.saved(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def main() -> None:
    """Start a server without weights and ask it for the nodes."""
    with tempfile.TemporaryDirectory() as base, running_server(find_comfyui(), Path(base)) as server:
        write(json.loads(server.get("/object_info")))


if __name__ == "__main__":
    main()
