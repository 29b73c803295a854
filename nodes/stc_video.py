"""BFVR-STC over a whole video in one node, from file to file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from comfy_api.latest import Input, io

from ..svfr_model.base.errors import InputError
from ..svfr_model.base.memory import Memory
from ..svfr_model.faces.find import find_tracks
from ..svfr_model.faces.options import ChoiceOptions, PasteOptions
from ..svfr_model.faces.select import select_tracks
from ..svfr_model.media.options import ReadOptions, VideoOptions
from ..svfr_model.runs.restore_clip import find_shots
from ..svfr_model.runs.stc_clip import cut_faces, enhance_faces, paste_faces
from ..svfr_model.stc.enhance import enhance_whole
from ..svfr_model.stc.options import EnhanceOptions
from .phases import CROP, PASTE, Phases, id_of
from .resume import name_of, parts_of
from .search import aliases
from .stc import CATEGORY, CROPS, WHOLE
from .types import DetectorType, ResidentSTC, STCType
from .video_files import EightBits, Source, new_file, opened, to_video, work_memory
from .widgets import folded, inputs_of, made

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector
    from ..svfr_model.stc.network import CodeFormer3D

NETWORKS = ("stc_model", "detector")
"""Inputs that are followed through the graph to know what they are."""


class EnhanceVideo(io.ComfyNode):
    """One network over a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A video in, a video out; two in a row chain two tasks."""
        return io.Schema(
            node_id="STCEnhanceVideo",
            display_name="STC Enhance Video",
            category=CATEGORY,
            **aliases(
                "deflicker, flicker, de-flicker, flicker removal, deflicker video, video deflicker, face restore, "
                "video face, old film, long video, temporal consistency, BFVR, 去闪烁, ちらつき除去, 깜박임 제거"
            ),
            description="Restores or de-flickers a video of any length with BFVR-STC, in one forward pass. The same as "
            "STC Enhance, but the video is read and written as a stream, so that minutes of it do not fill the memory. "
            "Sound, size and frame times are kept. Chain two of these nodes to do two tasks.",
            inputs=[
                io.Video.Input("video", tooltip="From Load Video. It is read as a stream and never held whole."),
                STCType.Input("stc_model", tooltip="From Load STC Model."),
                io.Combo.Input(
                    "mode",
                    options=[CROPS, WHOLE],
                    default=CROPS,
                    tooltip=f'"{CROPS}" (default, to restore) finds the faces, enhances each in a steady square and '
                    f'puts it back; needs the detector. "{WHOLE}" (to de-flicker) sends each frame through the '
                    "network's 512 pixels: finer detail of larger frames is lost, unless low_frequency keeps it.",
                ),
                *folded(
                    inputs_of(EnhanceOptions, ChoiceOptions, ReadOptions, VideoOptions, without=["number"]),
                    *("choice", "low_frequency"),
                ),
                DetectorType.Input(
                    "detector", optional=True, tooltip=f'From Load Face Detector; needed for "{CROPS}" only.'
                ),
            ],
            outputs=[io.Video.Output("enhanced", display_name="video", tooltip="The enhanced video, for Save Video.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        video: Input.Video,
        stc_model: ResidentSTC,
        mode: str,
        detector: FaceDetector | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """From file to file."""
        options, choice = made(EnhanceOptions, widgets), made(ChoiceOptions, widgets).choice
        reading, writing = made(ReadOptions, widgets), made(VideoOptions, widgets)
        if mode == CROPS and detector is None:
            raise InputError(f'"{CROPS}" needs a detector: wire Load Face Detector, or choose "{WHOLE}".')
        phases = Phases(id_of(cls), "shots" if mode == WHOLE else "detect")
        deep = mode == CROPS and writing.keeps_depth
        with opened(video, reading, deep=deep) as source, stc_model.loaded(options.window) as network:
            target = new_file(writing, "STC_enhanced")
            writer = source.writer(target, writing)  # which refuses what it cannot write, before any work
            parts = parts_of(cls, video, NETWORKS, {"mode": mode, **widgets}) if mode == CROPS else None
            with work_memory("" if parts is None else name_of(cls, video), parts) as memory:
                if mode == CROPS and detector is not None:
                    frames = _faces(source, network, options, detector, str(choice), memory, phases)
                else:
                    frames = _whole(source, network, options, phases)
                with writer:
                    for number, frame in enumerate(frames):
                        writer.write(frame, source.time(number))
        phases.finished()
        return io.NodeOutput(to_video(target))


def _whole(source: Source, network: CodeFormer3D, options: EnhanceOptions, phases: Phases) -> Iterable[np.ndarray]:
    """Whole frames, shot by shot."""
    spans = find_shots(source.frames, phases)
    count = float(spans[-1][1])
    phases.weigh({"measure": [count] if options.stretch else [], "enhance": [count]})
    return enhance_whole(EightBits(source.frames), network, spans, options, callback=phases)


def _faces(
    source: Source,
    network: CodeFormer3D,
    options: EnhanceOptions,
    detector: FaceDetector,
    choice: str,
    memory: Memory,
    phases: Phases,
) -> Iterable[np.ndarray]:
    """The frames with the chosen faces enhanced. memory: for the crops, and what is found."""
    found = find_tracks(source.frames, detector, callback=phases, memory=memory)
    chosen = select_tracks(found.tracks, choice)
    runs = [float(len(track)) for track in chosen]
    measured = runs if options.stretch else []
    count = found.frame_count
    phases.weigh({"crop": [CROP * count], "measure": measured, "enhance": runs, "paste": [PASTE * count]})
    cut = cut_faces(source.frames, chosen, network.img_size, phases, memory)
    enhance_faces(network, cut, options, phases)
    return paste_faces(source.frames, cut, [network.task], PasteOptions(), phases)
