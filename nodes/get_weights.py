"""The weights that a task needs: what they are, on which terms, and, once these are accepted, a download."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..svfr_model.weights import REGISTRY, WeightFile, fault_of, weight_file
from ..svfr_model.weights.hub import amount
from .fetch import Download
from .files import installed, target_folder
from .phases import id_of
from .search import aliases
from .tables import Cell, table

SETS: dict[str, tuple[str, ...]] = {
    "SVFR": tuple(entry.role for entry in REGISTRY.values() if not entry.optional),
    "STC: restore": ("stc_bfr",),
    "STC: deflicker": ("stc_deflicker",),
    "STC: deflicker upscaled video": ("stc_deflicker_sd",),
    "face detector: YuNet": ("yunet",),
    "face detector: SCRFD": ("scrfd",),
    "face detector: YOLOv5-face": ("yoloface_v5m",),
}
"""The files of each choice, by role."""
TITLES = ("file", "what it is", "size", "licence", "where")
REFUSED = "Nothing was downloaded. Read the licences; if you accept them, switch on accept_licences and run again."


class GetWeights(io.ComfyNode):
    """Lists weight files, and fetches those that are missing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A set of files, and a person's consent."""
        return io.Schema(
            node_id="SVFRGetWeights",
            display_name="SVFR Get Weights",
            category="SVFR/loaders",
            **aliases("download model, download weights, missing model, unet.pth, SVFR weights, Hugging Face, install"),
            description="Lists the files that a task needs, with size, source and licence, and tells which of them are "
            "there. Once you have accepted the licences it downloads those that are missing into models/svfr and "
            "checks each. A download that was cancelled or broke goes on where it ended.",
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "files",
                    options=list(SETS),
                    default="SVFR",
                    tooltip="What the files are for. SVFR: the four files that SVFR Restore and its kin need. Default: "
                    "SVFR.",
                ),
                io.Boolean.Input(
                    "accept_licences",
                    default=False,
                    tooltip="On: you have read the licences in the list and accept them, and what is missing is "
                    "downloaded. Off: the files are only listed. Default: off.",
                ),
            ],
            outputs=[io.String.Output("list", tooltip="The files with size, source, licence and place, as text.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, files: str, accept_licences: bool) -> list[str]:
        """What is there, so that the node looks again when that has changed."""
        return [str(accept_licences), *(str(installed(role)) for role in SETS.get(files, ()))]

    @classmethod
    def execute(cls, files: str, accept_licences: bool) -> io.NodeOutput:
        """List, or fetch and list."""
        roles = SETS[files]
        missing = [role for role in roles if installed(role) is None]
        if accept_licences and missing:
            fetching = Download(missing, target_folder(), id_of(cls))
            fetching.start()
            fetching.wait()
        found = {role: installed(role) for role in roles}
        lacking = any(path is None for path in found.values())
        notes = [*([REFUSED] if lacking else []), *(entry.note for entry in map(weight_file, roles) if entry.note)]
        rows = [_row(weight_file(role), path) for role, path in found.items()]
        text = "\n".join([*("\n  ".join(_lines(weight_file(role), path)) for role, path in found.items()), *notes[:1]])
        return io.NodeOutput(text, ui={"text": [text], **table(TITLES, rows, head=_head(found), notes=notes)})


def _head(found: dict[str, Path | None]) -> str:
    there = sum(path is not None for path in found.values())
    return f"{there} of {len(found)} files are there"


def _row(entry: WeightFile, path: Path | None) -> list[Cell]:
    return [
        {"text": entry.name, "address": entry.url},
        entry.purpose,
        _size(entry, path),
        entry.licence,
        _place(entry, path),
    ]


def _lines(entry: WeightFile, path: Path | None) -> list[str]:
    return [
        f"{entry.name}: {entry.purpose}, {_size(entry, path)}, {_place(entry, path)}",
        f"source: {entry.url}",
        f"licence: {entry.licence}",
    ]


def _size(entry: WeightFile, path: Path | None) -> str:
    if path is not None:
        return amount(path.stat().st_size)
    if entry.size:
        return amount(entry.size)
    return f"about {amount(entry.about)}" if entry.about else "not stated"


def _place(entry: WeightFile, path: Path | None) -> str:
    """Where the file is, or that it is missing or damaged."""
    if path is None:
        return "missing"
    fault = fault_of(path, entry.role)
    return f"{path}: DAMAGED, it {fault}. Delete it and run again" if fault else str(path)
