"""SVFR Restore Video: from file to file the same as the wired nodes, cancelled at any time, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
from fractions import Fraction
from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from svfr_pack.nodes import phases
from svfr_pack.nodes.face import FaceCrop
from svfr_pack.nodes.paste import PasteBack
from svfr_pack.nodes.phases import Phases
from svfr_pack.nodes.restore import Restore
from svfr_pack.nodes.task import TaskVector
from svfr_pack.nodes.video import RestoreVideo
from svfr_pack.svfr_model.base.clip import ArrayClip
from svfr_pack.svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_pack.svfr_model.engine.options import RestoreOptions
from svfr_pack.svfr_model.faces.detectors.load import load_detector
from svfr_pack.svfr_model.files.mapped import MappedMemory
from svfr_pack.svfr_model.media import open_clip, write_clip
from svfr_pack.svfr_model.media.options import VideoOptions
from svfr_pack.svfr_model.weights import embedded
from test_nodes import FixedFaces, call, clip, encoder, folder, model, vae  # noqa: F401

FACE = FixedFaces((0.3, 0.25, 0.7, 0.75), size=(96, 120))
LOSSLESS = {"codec": "ffv1", "color_match": "none"}
"""Colours are not matched: LAB is steep in the colours of random networks, and what was 8 bits shows too much."""
QUICK = {"width": 64, "height": 64, "steps": 2}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """ComfyUI's folder for temporary files. In that for results work lies meanwhile, and nothing in the end."""
    place, output = tmp_path / "comfy_temp", tmp_path / "comfy_output"
    monkeypatch.setattr(folder_paths, "temp_directory", str(place))
    monkeypatch.setattr(folder_paths, "output_directory", str(output))
    yield place
    assert not output.exists() or list(output.iterdir()) == []


@pytest.fixture
def frames():
    """IMAGE of 12 frames whose values 8 bits can hold."""
    return (clip(12, 96, 120) * 255).round() / 255


@pytest.fixture
def networks(model, vae, encoder):  # noqa: F811
    return {"model": model, "vae": vae, "detector": FACE, "encoder": encoder}


def defaults_of(node):
    """The defaults of a node's widgets."""
    entries = node.GET_SCHEMA().inputs
    return {entry.id: entry.default for entry in entries if getattr(entry, "default", None) is not None}


def of_components(frames, sound=None):
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=sound, frame_rate=Fraction(24)))


def of_file(path, frames, **options):
    write_clip(path, ArrayClip(frames.numpy(), Fraction(24)), options=VideoOptions(**(options or {"codec": "ffv1"})))
    return InputImpl.VideoFromFile(str(path))


def restored(networks, video, **widgets):
    return call(RestoreVideo, video=video, task="restore", **networks, **QUICK, **{**LOSSLESS, **widgets})


def frames_of(video):
    return np.stack(list(open_clip(video.get_stream_source())))


def assert_same(ours, theirs):
    """Within about a level: restored crops go through 8 bits in the one node, and the result does."""
    assert np.abs(ours.astype(float) - 255 * theirs).max() < 1.5


def wired(networks, frames, task="restore", mask=None):
    """What the wired nodes make of frames: (N,H,W,3)."""
    (tasks,) = call(TaskVector, preset=task)
    size = {"width": 64, "height": 64}
    crops, masks, tracks, _ = call(FaceCrop, frames=frames, detector=networks["detector"], mask=mask, **size)
    passes = {name: networks[name] for name in ("model", "vae", "detector", "encoder")}
    results = [
        call(Restore, crops=crop, task=tasks, mask=masked, track=plan, steps=2, **passes)[0]
        for crop, masked, plan in zip(crops, [None] * len(crops) if mask is None else masks, tracks, strict=True)
    ]
    defaults = {name: [value] for name, value in defaults_of(PasteBack).items()}
    told = {"masks": masks} if mask is not None else {}
    defaults["color_match"] = ["none"]
    return PasteBack.execute(
        frames=[frames], restored=results, tracks=tracks, task=[tasks], **told, **defaults
    ).args[0].numpy()


@pytest.mark.parametrize("source", ["components", "file"])
def test_the_frames_are_those_of_the_wired_nodes(networks, frames, tmp_path, source):
    video = of_components(frames) if source == "components" else of_file(tmp_path / "in.mkv", frames)
    result, preview, report, _ = restored(networks, video)
    ours, theirs = frames_of(result), wired(networks, frames)
    assert_same(ours, theirs)
    assert np.abs(theirs - frames.numpy()).max() > 0.1, "something was restored"
    assert preview.shape == (1, 96, 240, 3)
    assert "12 frames of 120x96" in report
    assert "face 0: frames 0 to 11" in report


LQ1 = Path(os.environ.get("SVFR_TEST_DATA", "")) / "lq1.mp4"


@pytest.mark.skipif(not LQ1.is_file(), reason="lq1.mp4 is not at hand: set SVFR_TEST_DATA to its folder")
def test_a_real_clip_is_as_the_wired_nodes_make_it(networks):
    """The whole of lq1, its faces found by the detector that ships with the pack.

    The wires get the frames as the node reads them: those of Get Video Components are up to 13 levels beside, because
    ComfyUI enlarges the colour planes more coarsely, and a random network makes much of that.
    """
    networks = {**networks, "detector": load_detector("yunet", embedded("yunet"))}
    frames = torch.from_numpy(np.stack(list(open_clip(LQ1)))) / 255
    ours = frames_of(restored(networks, InputImpl.VideoFromFile(str(LQ1)))[0])
    theirs = wired(networks, frames)
    assert len(ours) == len(theirs) == len(frames) == 85
    assert_same(ours, theirs)
    assert all(np.abs(after - before).max() > 0.1 for after, before in zip(theirs, frames.numpy(), strict=True))


def test_an_inpainting_mask_is_that_of_the_wired_nodes(networks, frames):
    mask = torch.zeros(1, 96, 120)
    mask[:, 40:60, 50:80] = 1
    result, *_ = call(
        RestoreVideo, video=of_components(frames), task="inpaint", mask=mask, **networks, **QUICK, **LOSSLESS
    )
    ours, theirs = frames_of(result), wired(networks, frames, "inpaint", mask)
    edge = np.zeros((96, 120), bool)  # along it the wires carry a soft mask, and files a hard one
    edge[36:64, 46:84] = True
    edge[44:56, 54:76] = False
    assert_same(np.where(edge[..., None], 0, ours), np.where(edge[..., None], 0, theirs))
    assert np.abs(theirs - frames.numpy())[:, 45:55, 55:75].max() > 0.1, "the masked part was filled"


def test_rate_size_and_sound_are_kept(networks, frames):
    tone = torch.sin(torch.arange(24000) / 20).expand(1, 2, -1)
    video = of_components(frames, {"waveform": tone, "sample_rate": 48000})
    result, *_ = restored(networks, video, codec="h264")
    parts = result.get_components()
    assert parts.frame_rate == 24
    assert parts.images.shape == frames.shape
    sound = parts.audio["waveform"]
    assert sound.shape[1] == 2
    assert sound.shape[2] == pytest.approx(24000, abs=2100)
    assert sound.abs().mean() > 0.3


def test_a_trimmed_video_is_restored_in_its_window(networks, frames, tmp_path):
    whole = of_file(tmp_path / "in.mp4", frames, codec="h264", crf=0)
    trimmed = whole.as_trimmed(start_time=0.25, duration=0.25)
    result, _, report, _ = restored(networks, trimmed)
    assert "6 frames" in report
    cut = frames_of(result)
    assert len(cut) == 6
    kept = open_clip(tmp_path / "in.mp4")
    assert np.abs(cut[:, :8].astype(int) - np.stack(list(kept))[6:12, :8].astype(int)).max() <= 3


def test_a_run_leaves_the_result_and_nothing_else(networks, frames, temporary):
    tone = {"waveform": torch.zeros(1, 1, 8000), "sample_rate": 16000}
    result, *_ = restored(networks, of_components(frames, tone))
    assert [str(path) for path in temporary.iterdir()] == [result.get_stream_source()]


@pytest.mark.parametrize("stage", ["detect", "encode", "first denoise", "first decode", "denoise", "decode", "paste"])
def test_a_cancel_in_any_phase_leaves_no_file(networks, frames, temporary, monkeypatch, stage):
    plain = Phases.__call__

    def cancelled(self, name, done, total, preview=None):
        if name == stage and done:
            comfy.model_management.interrupt_current_processing()
        plain(self, name, done, total, preview)

    monkeypatch.setattr(Phases, "__call__", cancelled)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        restored(networks, of_components(frames))
    assert not temporary.exists() or list(temporary.iterdir()) == []
    assert not comfy.model_management.processing_interrupted()


def test_the_text_ends_with_what_it_took(networks, frames, monkeypatch):
    told = []
    monkeypatch.setattr(phases, "tell", lambda node, text: told.append(text))
    restored(networks, of_components(frames))
    assert re.fullmatch(r"done in \d+ s", told[-1])
    assert not any(text.startswith("done") for text in told[:-1])


def test_crops_and_latents_lie_in_the_folder_for_results(networks, frames, tmp_path, monkeypatch):
    plain, seen = Phases.__call__, {}

    def looking(self, name, done, total, preview=None):
        seen[name] = {path.stem for path in (tmp_path / "comfy_output").rglob("*.npy")}
        plain(self, name, done, total, preview)

    monkeypatch.setattr(Phases, "__call__", looking)
    restored(networks, of_components(frames))
    assert seen["detect"] <= {"state-0", "state-1", "shot-0"}, "what was found"
    assert seen["denoise"] >= {"crops", "start", "latents-0", "latents-1", "estimate-0"}
    assert "latents-0" not in seen["paste"]
    assert "crops" in seen["paste"]


def test_too_little_space_is_refused_before_anything_is_restored(networks, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(MappedMemory, "_free", lambda self: 100_000)
    monkeypatch.setattr(Phases, "__call__", lambda self, name, *_: name == "encode" and pytest.fail("it restores"))
    with pytest.raises(InputError, match=r"comfy_output.* needs 0\.2 MB here .*0\.1 MB are free"):
        restored(networks, of_components(frames))


def test_what_cannot_be_is_refused_before_any_work(networks, frames, temporary):
    with pytest.raises(FaceNotFoundError):
        restored({**networks, "detector": FixedFaces()}, of_components(frames))
    with pytest.raises(InputError, match="steps"):
        call(RestoreVideo, video=of_components(frames), task="restore", **networks, **{**QUICK, "steps": 0})
    assert not temporary.exists() or list(temporary.iterdir()) == []


def test_a_codec_that_does_not_take_the_size_is_refused_before_faces_are_looked_for(networks, frames):
    class Unasked:
        def detect(self, frames):
            raise AssertionError("faces were looked for")

    with pytest.raises(InputError, match="even sides only"):
        restored({**networks, "detector": Unasked()}, of_components(frames[:, :, :-1]), codec="hevc")


def test_four_widgets_are_in_sight():
    shown = [entry.id for entry in RestoreVideo.GET_SCHEMA().inputs if getattr(entry, "advanced", None) is False]
    assert shown == ["task", "preset", "choice", "seed"]


def test_the_bar_never_goes_back_and_ends_full(networks, frames, monkeypatch):
    shown = []
    plain = Phases.__call__

    def watched(self, *told):
        plain(self, *told)
        shown.append(self.share)

    monkeypatch.setattr(Phases, "__call__", watched)
    two = FixedFaces((0.1, 0.2, 0.4, 0.8), (0.65, 0.3, 0.85, 0.7), size=(96, 120))
    restored({**networks, "detector": two}, of_components(frames), choice="all")
    assert shown == sorted(shown)
    assert shown[-1] == pytest.approx(1)
    assert len(set(shown)) > 20


def test_the_work_of_each_track_is_counted():
    phases = Phases(None)
    phases.plan(10, [10, 30], RestoreOptions(steps=4))
    work, finished = phases._remaining._work["denoise"], phases._remaining._finished
    assert work[1] == pytest.approx(3 * work[0])
    phases("windows", 1, 2)
    assert finished("denoise") == pytest.approx(work[0] / 8)
    phases("denoise", 1, 4)
    assert finished("denoise") == pytest.approx(work[0] / 4)
    phases("denoise", 4, 4)
    phases("windows", 1, 2)
    assert finished("denoise") == pytest.approx(work[0] + work[1] / 8)
    assert phases._remaining.runs("denoise") == (2, 2)


def test_a_preset_takes_the_place_of_other_widgets_and_says_so(networks, frames):
    video = of_components(frames)
    ours = RestoreVideo.execute(
        video=video, **{**defaults_of(RestoreVideo), **networks, **QUICK, **LOSSLESS, "preset": "preview"}
    )
    assert any("preview" in line for line in ours.ui["text"])
    by_hand = restored(networks, video, levels="few-3", preset="custom")[0]
    assert not np.array_equal(frames_of(ours.args[0]), frames_of(by_hand)), "the preset has one pass"


def test_a_face_that_was_chosen_by_eye_goes_before_the_choice(networks, frames):
    """The choice asks for a face that is not there; in a clip of another size it decides again."""
    _, _, (plan,), _ = call(FaceCrop, frames=frames, detector=networks["detector"], width=64, height=64)
    marks = [[5, *plan.track.boxes[5].round().tolist()]]
    nobody = {"choice": "number", "number": 7}
    kept = json.dumps({"size": [120, 96], "frames": 12, "of": 1, "marks": marks})
    result, _, report, _ = restored(networks, of_components(frames), faces=kept, **nobody)
    assert "face 0: frames 0 to 11" in report
    assert "left as it is" not in report
    assert np.array_equal(frames_of(result), frames_of(restored(networks, of_components(frames))[0]))
    other = kept.replace("[120, 96]", "[640, 480]")
    with pytest.raises(FaceNotFoundError, match="There is no face number 7"):
        restored(networks, of_components(frames), faces=other, **nobody)
