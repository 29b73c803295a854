"""BFVR-STC's nodes called in ComfyUI's own process: against the library, cancel, memory, and what they refuse."""

from __future__ import annotations

import gc
import weakref

import comfy.model_management
import numpy as np
import pytest
import torch
from peak import Peak
from random_networks import RANDOM_STC
from svfr_pack.nodes.bundled import STC_TINY
from svfr_pack.nodes.files import register_folder
from svfr_pack.nodes.images import to_pictures
from svfr_pack.nodes.stc import CROPS, WHOLE, EnhanceSTC, LoadSTCModel
from svfr_pack.nodes.types import ResidentSTC
from svfr_pack.svfr_model.base.errors import InputError, WeightsError
from svfr_pack.svfr_model.stc.enhance import enhance_whole
from svfr_pack.svfr_model.stc.load import ROLES
from svfr_pack.svfr_model.stc.network import build_network
from svfr_pack.svfr_model.weights import save
from test_nodes import FixedFaces, call, clip

META = torch.device("meta")
FACE = FixedFaces((0.3, 0.25, 0.7, 0.75), size=(96, 120))


@pytest.fixture
def stc():
    return ResidentSTC(build_network("bfr", RANDOM_STC))


def enhance(model, frames, **inputs):
    return call(EnhanceSTC, stc_model=model, frames=frames, **inputs)


def test_whole_frames_are_the_librarys(stc):
    frames = clip(30, 80, 96)
    enhanced, motion = enhance(stc, frames, mode=WHOLE)
    expected = np.stack(list(enhance_whole(to_pictures(frames), stc.network, [(0, 30)])))
    assert enhanced.dtype == torch.float32
    assert np.array_equal((enhanced * 255).round().numpy(), expected)
    assert len(motion) == 1
    assert motion[0] > 0


def test_only_the_face_changes_and_the_rest_keeps_its_bits(stc):
    frames = clip(10, 96, 120)  # no 8-bit values
    enhanced, motion = enhance(stc, frames, mode=CROPS, detector=FACE)
    assert enhanced.shape == frames.shape
    assert (enhanced - frames)[:, 40:60, 50:70].abs().mean() > 0.02
    assert torch.equal(enhanced[:, :8], frames[:, :8])
    assert len(motion) == 1


def test_every_track_has_its_motion(stc):
    two = FixedFaces((0.1, 0.2, 0.4, 0.8), (0.65, 0.3, 0.85, 0.7), size=(96, 192))
    frames = clip(6, 96, 192)
    frames[::2, :, :96] = 0  # the left one flickers between black and what it is
    _, motion = enhance(stc, frames, mode=CROPS, detector=two, choice="all")
    assert len(motion) == 2
    assert max(motion) > 0.9
    assert min(motion) < 0.5


def test_two_nodes_chain_two_tasks(stc):
    frames = clip(6, 80, 96)
    first = enhance(ResidentSTC(build_network("deflicker", RANDOM_STC)), frames, mode=WHOLE)[0]
    both = enhance(stc, first, mode=WHOLE)[0]
    alone = enhance(stc, frames, mode=WHOLE)[0]
    assert both.shape == frames.shape
    assert (both - alone).abs().max() > 1 / 255


def test_low_frequency_keeps_the_frames_detail():
    model = ResidentSTC(build_network("deflicker", RANDOM_STC))
    frames = 0.3 + 0.4 * torch.rand(2, 96, 96, 3)
    images = [frames, *(enhance(model, frames, mode=WHOLE, low_frequency=on)[0] for on in (True, False))]
    original, kept, lost = (image.diff(dim=2) for image in images)  # what is finer than the blur
    assert (kept - original).abs().mean() < 0.1 * original.abs().mean()
    assert (lost - original).abs().mean() > 0.5 * original.abs().mean()


def test_cancel_ends_within_a_window_and_the_next_run_works(stc):
    done = []

    def in_the_middle(*_):
        done.append("encoder")
        comfy.model_management.interrupt_current_processing(True)

    hook = stc.network.encoder.register_forward_hook(in_the_middle)
    after = stc.network.generator.register_forward_hook(lambda *_: done.append("generator"))
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            enhance(stc, clip(4), mode=WHOLE)
    finally:
        comfy.model_management.interrupt_current_processing(False)
        hook.remove()
    assert done == ["encoder"]
    assert enhance(stc, clip(4), mode=WHOLE)[0].shape == (4, 64, 64, 3)
    after.remove()


@pytest.mark.parametrize("window", [8, 24, 48])
def test_the_estimate_holds_the_published_network(window, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, *_, **__: q.clone())
    with META:
        network = build_network("bfr")
    with Peak() as peak:
        network(torch.empty(1, 3, window, 512, 512, device=META))
    assert peak.bytes > 2**29
    assert peak.bytes * 1.1 < ResidentSTC(network).estimate_memory(window) < peak.bytes * 2


def test_the_network_is_loaded_with_its_estimate_while_used_and_let_go(stc, monkeypatch):
    asked, load = [], comfy.model_management.load_models_gpu

    def loading(models, **given):
        asked.append(given["memory_required"])
        return load(models, **given)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", loading)
    enhance(stc, clip(4), mode=WHOLE, window=8, overlap=2)
    assert asked == [stc.estimate_memory(8)]
    assert stc._resident.patcher.loaded_size() == 0


def test_nothing_stays_in_memory():
    model = ResidentSTC(build_network("bfr", RANDOM_STC))
    frames = clip(4)
    enhanced, _ = enhance(model, frames, mode=WHOLE)
    held = [weakref.ref(owner) for owner in (model, model.network, frames, enhanced)]
    del model, frames, enhanced
    gc.collect()
    comfy.model_management.cleanup_models()
    assert [reference() for reference in held] == [None] * 4


def test_running_out_names_the_window(stc, monkeypatch):
    def cramped(_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stc.network, "encode", cramped)
    with pytest.raises(InputError, match="a window of 24 frames: choose a shorter window"):
        enhance(stc, clip(4), mode=WHOLE)


def test_what_cannot_be_done_is_said(stc):
    with pytest.raises(InputError, match="wire Load Face Detector"):
        enhance(stc, clip(4), mode=CROPS)
    with pytest.raises(InputError, match="at least 64"):
        enhance(stc, clip(4, 60, 80), mode=WHOLE)
    with pytest.raises(InputError, match="smaller than the window"):
        enhance(stc, clip(4), mode=WHOLE, window=8, overlap=8)


@pytest.mark.parametrize("task", list(ROLES))
def test_stc_tiny_is_offered_by_name_and_never_chosen_unasked(task):
    register_folder()
    (entry,) = [entry for entry in LoadSTCModel.define_schema().inputs if entry.id == "stc_name"]
    assert STC_TINY in entry.options
    assert entry.default != STC_TINY
    assert LoadSTCModel.validate_inputs(STC_TINY) is True
    network = LoadSTCModel.execute(STC_TINY, task).args[0].network
    assert (network.task, network.img_size) == (task, 64)


def test_a_file_of_another_task_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "ckpt-bfvr.safetensors"
    save(build_network("bfr", RANDOM_STC), path, ROLES["bfr"], RANDOM_STC)
    monkeypatch.setattr("svfr_pack.nodes.stc.resolve", lambda *_: path)
    assert LoadSTCModel.execute(path.name, "bfr").args[0].network.task == "bfr"
    with pytest.raises(WeightsError, match="BFVR-STC's remover of brightness flicker") as refused:
        LoadSTCModel.execute(path.name, "deflicker")
    assert "github.com/Dixin-Lab/BFVR-STC" in str(refused.value)
