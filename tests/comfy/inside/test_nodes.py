"""Nodes called in ComfyUI's own process: against its samplers, each other, cancel, and what stays in memory."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace

import comfy.model_management
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_api.latest import io
from near import assert_near
from random_networks import write_random_weights
from svfr_pack.nodes import SVFRExtension
from svfr_pack.nodes.conditioning import Conditioning
from svfr_pack.nodes.face import FaceCrop
from svfr_pack.nodes.identity import IdEmbedding
from svfr_pack.nodes.model import load_model
from svfr_pack.nodes.paste import PasteBack
from svfr_pack.nodes.restore import Restore
from svfr_pack.nodes.sample import Sampler
from svfr_pack.nodes.self_reference import NOT_MEASURED, SelfReference
from svfr_pack.nodes.solver import native_solver
from svfr_pack.nodes.task import PRESETS, SWITCHES, TaskVector
from svfr_pack.nodes.types import ResidentEncoder
from svfr_pack.nodes.vae import load_vae
from svfr_pack.svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.engine.solvers import SOLVERS, karras_sigmas
from svfr_pack.svfr_model.faces.face import Face
from svfr_pack.svfr_model.networks.identity import load_identity_encoder

BFR = frozenset({Task.BFR})
POINTS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    write_random_weights(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder / "unet.safetensors", "fp32")


@pytest.fixture(scope="module")
def vae(folder):
    return load_vae(folder / "svd_vae.safetensors", "fp32")


@pytest.fixture(scope="module")
def encoder(folder):
    names = "insightface_glint360k.safetensors", "id_linear.safetensors"
    return ResidentEncoder(load_identity_encoder(*(folder / name for name in names)))


class FixedFaces:
    """A detector that sees faces at the same places of every picture, given in parts of its size.

    size: height and width of the only pictures in which it sees any, so that it finds none in pieces of frames.
    """

    def __init__(self, *boxes, size=None):
        self.boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        self.size = size

    def detect(self, frames):
        return [self.faces(frame.shape[:2]) for frame in frames]

    def faces(self, size):
        if self.size not in (None, size):
            return []
        return [self.face(box, size[1], size[0]) for box in self.boxes]

    @staticmethod
    def face(box, width, height):
        box = box * [width, height, width, height]
        return Face(box, box[:2] + POINTS * (box[2:] - box[:2]), 0.9)


WHOLE = FixedFaces((0.2, 0.2, 0.8, 0.8))


def clip(count, height=64, width=64):
    """Smooth noise that moves a little, IMAGE."""
    small = torch.rand(1, 3, 8, 8) + 0.2 * torch.rand(count, 3, 8, 8)
    frames = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    return frames.permute(0, 2, 3, 1).contiguous()


def call(node, **inputs):
    """A node's outputs, widgets that are not named having their defaults."""
    defaults = {
        entry.id: entry.default
        for entry in node.GET_SCHEMA().inputs
        if isinstance(entry, io.WidgetInput) and entry.default is not None
    }
    return node.execute(**{**defaults, **inputs}).args


def sample(model, vae, crops, **inputs):
    return call(Sampler, model=model, vae=vae, crops=crops, **{"task": BFR, "steps": 2, **inputs})


def test_ksampler_gives_what_our_sampler_gives(model, vae, encoder):
    from nodes import common_ksampler  # ComfyUI's

    crops, reference = clip(8), clip(1)
    (identity,) = call(IdEmbedding, pictures=[reference], encoder=[encoder], detector=[WHOLE], alignment=["arcface"])
    told = {"reference": reference, "identity": identity}
    positive, negative, latent, shown = call(Conditioning, model=model, vae=vae, crops=crops, task=BFR, **told)
    theirs = common_ksampler(model, 9, 6, 1.7, "euler", "karras", positive, negative, latent)[0]["samples"]
    guidance = {"guidance_from": 1.7, "guidance_to": 1.7}
    settings = {"seed": 9, "steps": 6, "plan": "linear", "window": 8, "overlap": 3, **guidance}
    _, ours, also_shown = sample(model, vae, crops, **settings, **told)
    assert ours["samples"].shape == latent["samples"].shape
    assert torch.equal(shown, also_shown)
    assert_near(ours["samples"], theirs, 1e-3)
    unguided = sample(model, vae, crops, **settings)[1]["samples"]
    assert (unguided - ours["samples"]).abs().max() > 1e-2  # reference and identity were not ignored by both


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_native_samplers_drive_the_denoiser_as_ours_do(name, model):
    """On a denoiser whose answer is known: data of mean 0.3 and spread 0.5."""

    def denoiser(x, sigma):
        return (0.3 * sigma**2 + x * 0.25) / (sigma**2 + 0.25)

    sigmas, noise = karras_sigmas(12), torch.randn(5, 4, 8, 8)
    start, told = noise * sigmas[0], []
    theirs = native_solver(comfy.samplers.sampler_object(name), model, 3)(
        denoiser, start, sigmas, lambda *progress: told.append(progress[:3])
    )
    ours = SOLVERS[name](denoiser, start, sigmas, None)
    assert_near(ours, theirs, 1e-4)
    assert told == [("denoise", step + 1, 12) for step in range(12)]


def test_native_sampler_and_sigmas_in_the_node(model, vae):
    crops = clip(6)
    settings = {"seed": 4, "window": 5, "overlap": 2}
    expected = sample(model, vae, crops, steps=4, **settings)[1]["samples"]
    wired = {"sampler": comfy.samplers.sampler_object("euler"), "sigmas": torch.tensor(karras_sigmas(4))}
    found = sample(model, vae, crops, steps=9, **settings, **wired)[1]["samples"]
    assert_near(found, expected, 1e-3)


def test_a_sampler_that_replaces_guidance_is_refused(model, vae):
    with pytest.raises(InputError, match="cfg_pp"):
        sample(model, vae, clip(4), sampler=comfy.samplers.sampler_object("euler_cfg_pp"))


def test_restore_is_two_samplers_with_self_reference_between_them(model, vae, encoder):
    crops = clip(18)
    referring = {"detector": WHOLE, "encoder": encoder}
    first = sample(model, vae, crops[:16], seed=7)[0]
    reference, identity, score, index, shift = call(SelfReference, frames=first, crops=crops[:16], **referring)
    wired = sample(model, vae, crops, seed=8, reference=reference, identity=identity)
    restored = call(Restore, model=model, vae=vae, crops=crops, task=BFR, seed=7, steps=2, **referring)
    frames, latent, _, picture, same_person, same_score, same_index = restored
    assert frames.shape == crops.shape
    assert (index, score) == (same_index, pytest.approx(same_score, abs=1e-4))
    assert_near(picture, reference, 1e-5, "picture")
    assert_near(same_person.tokens, identity.tokens, 1e-4, "tokens")
    assert_near(latent["samples"], wired[1]["samples"], 1e-3, "latents")
    assert_near(frames, wired[0], 1e-3, "frames")
    assert shift > 0
    assert call(SelfReference, frames=first, **referring)[4] == NOT_MEASURED


def test_self_reference_chooses_what_it_is_told(encoder):
    frames = clip(5)
    told = {"frames": frames, "detector": WHOLE, "encoder": encoder}
    assert call(SelfReference, choice="last", **told)[3] == 4
    assert call(SelfReference, choice="number", index=2, **told)[3] == 2
    with pytest.raises(InputError, match="frames 0 to 4"):
        call(SelfReference, choice="number", index=9, **told)
    with pytest.raises(FaceNotFoundError, match="No face was found"):
        call(SelfReference, **{**told, "detector": FixedFaces()})


def test_what_the_network_is_shown(model, vae):
    crops = clip(4, 40, 72)
    mask = torch.zeros(1, 40, 72)
    mask[:, 10:20, 30:50] = 1
    tasks = frozenset({Task.COLORIZATION, Task.INPAINTING})
    frames, latent, shown = sample(model, vae, crops, task=tasks, mask=mask)
    masked = mask[0].bool()
    assert (shown[:, masked] == 1).all()
    seen = shown[:, ~masked]
    assert (seen[..., 0] == seen[..., 1]).all()
    assert (seen[..., 0] - crops[:, ~masked] @ torch.tensor([0.299, 0.587, 0.114])).abs().max() < 0.01
    assert frames.shape == crops.shape  # of no multiple of the network's 16
    assert latent["samples"].shape == (4, 4, 6, 10)
    assert torch.equal(sample(model, vae, crops, mask=mask)[2], (crops * 255).round() / 255)  # no inpainting
    longer = torch.cat([mask.expand(4, -1, -1), torch.ones(2, 40, 72)])
    assert torch.equal(sample(model, vae, crops, task=tasks, mask=longer)[2], shown)


def test_cancel_ends_a_pass_within_one_network_call(model, vae):
    calls = []

    def third_is_the_last(apply, arguments):
        calls.append(1)
        if len(calls) == 3:
            comfy.model_management.interrupt_current_processing(True)
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    patched = model.clone()
    patched.set_model_unet_function_wrapper(third_is_the_last)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(patched, vae, clip(12), window=4, overlap=1)
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert len(calls) == 3
    assert sample(model, vae, clip(4))[0].shape == (4, 64, 64, 3)


def test_nothing_stays_in_memory_after_a_run(folder):
    model, vae = load_model(folder / "unet.safetensors", "fp32"), load_vae(folder / "svd_vae.safetensors", "fp32")
    names = "insightface_glint360k.safetensors", "id_linear.safetensors"
    networks = load_identity_encoder(*(folder / name for name in names))
    encoder = ResidentEncoder(networks)
    crops = clip(5)
    outputs = call(Restore, model=model, vae=vae, crops=crops, task=BFR, steps=1, detector=WHOLE, encoder=encoder)
    frames = call(PasteBack, **pasting(*call(FaceCrop, frames=crops, detector=WHOLE, width=64, height=64)[:3], crops))
    held = [
        *(weakref.ref(owner) for owner in (model, vae, encoder)),
        *(weakref.ref(module) for module in (model.model, vae.first_stage_model, networks.recognizer)),
        *(weakref.ref(tensor) for tensor in (crops, outputs[0], outputs[1]["samples"], outputs[2], frames[0])),
    ]
    assert all(reference() is not None for reference in held)
    del model, vae, encoder, networks, crops, outputs, frames
    gc.collect()
    comfy.model_management.cleanup_models()
    comfy.model_management.unload_all_models()
    gc.collect()
    assert [index for index, reference in enumerate(held) if reference() is not None] == []


def pasting(crops, _masks, tracks, frames, **more):
    """Inputs of PasteBack, which takes lists."""
    widgets = {"region": "face", "feather": 0.12, "color_match": "none", "blend": 1.0, "occlusion_safe": False}
    lists = {name: [value] for name, value in {"frames": frames, **widgets, **more}.items()}
    return {**lists, "restored": crops, "tracks": tracks}


def test_frames_without_a_face_keep_their_bits_and_others_outside_it(model):
    frames = clip(9, 96, 120)  # no 8-bit values
    detector = FixedFaces((0.2, 0.2, 0.8, 0.8), size=(96, 120))
    crops, masks, tracks, preview = call(FaceCrop, frames=frames, detector=detector, width=64, height=64, stride=1)
    assert [len(part) for part in (crops, masks, tracks, preview)] == [1, 1, 1, 1]
    assert crops[0].shape == (9, 64, 64, 3)
    assert masks[0].shape == (9, 64, 64)
    assert preview[0].shape == (1, 96, 120, 3)
    plan = tracks[0]
    kept = {name: getattr(plan.track, name)[3:6] for name in ("boxes", "landmarks", "scores", "seen")}
    track = replace(plan.track, start=3, **kept)
    short = replace(plan, track=track, matrices=plan.matrices[3:6], landmarks=plan.landmarks[3:6])
    black = torch.zeros(3, 64, 64, 3)
    pasted, mask = call(PasteBack, **pasting([black], masks, [short], frames))
    assert torch.equal(pasted[:3], frames[:3])
    assert torch.equal(pasted[6:], frames[6:])
    assert (mask[:3] == 0).all()
    assert torch.equal(pasted[3:6][mask[3:6] == 0], frames[3:6][mask[3:6] == 0])
    assert (pasted[4, 48, 60] == 0).all()  # the middle of the face
    assert mask[4, 48, 60] == 1
    expected = frames[4] * (1 - mask[4, ..., None])  # black laid over it
    assert (pasted[4] - expected).abs().max() < 0.01
    half, _ = call(PasteBack, **pasting([black], masks, [short], frames, blend=0.5))
    assert (half[4, 48, 60] - frames[4, 48, 60] / 2).abs().max() < 1e-5
    forbidden, _ = call(PasteBack, **pasting([black], masks, [short], frames, allowed=torch.zeros(1, 96, 120)))
    assert torch.equal(forbidden, frames)


def test_everyone_is_cut_out_with_the_mask_and_put_back():
    frames = clip(8, 96, 192)
    two = FixedFaces((0.1, 0.2, 0.4, 0.8), (0.65, 0.3, 0.85, 0.7), size=(96, 192))
    mask = torch.zeros(8, 96, 192)
    mask[:, 40:56, 40:56] = 1
    settings = {"frames": frames, "detector": two, "width": 64, "height": 64, "stride": 1}
    crops, masks, tracks, preview = call(FaceCrop, choice="all", mask=mask, **settings)
    assert [len(part) for part in (crops, masks, tracks, preview)] == [2, 2, 2, 2]
    assert masks[0].max() == 1
    assert masks[1].max() == 0
    assert len(call(FaceCrop, choice="largest", **settings)[2]) == 1
    assert [plan.track.id for plan in call(FaceCrop, choice="number", number=1, **settings)[2]] == [1]
    pasted, changed = call(PasteBack, **pasting(crops, masks, tracks, frames))
    assert (pasted - frames).abs().max() < 0.05  # the crops are 8-bit and were scaled down
    assert changed[0, 48, 48] == 1
    assert changed[0, 48, 144] == 1
    with pytest.raises(InputError, match="2 tracks but 1"):
        call(PasteBack, **pasting(crops[:1], masks, tracks, frames))
    with pytest.raises(InputError, match="needs an encoder"):
        call(FaceCrop, face=frames[:1], **settings)
    with pytest.raises(FaceNotFoundError, match="No face was found in any frame"):
        call(FaceCrop, **{**settings, "detector": FixedFaces()})


def test_masks_of_a_wrong_length_and_identities_of_another_model_are_refused(model, vae, encoder):
    with pytest.raises(InputError, match="The mask has 3 frames, the clip 4"):
        sample(model, vae, clip(4), mask=torch.zeros(3, 64, 64))
    (identity,) = call(IdEmbedding, pictures=[clip(1)], encoder=[encoder], detector=[WHOLE], alignment=["arcface"])
    other = replace(identity, tokens=torch.zeros(49, 5))
    with pytest.raises(Exception, match="tokens of 5 channels, but the model takes 32"):
        sample(model, vae, clip(4), identity=other)


def test_pictures_of_a_list_are_averaged(encoder):
    one, two = clip(1), clip(2, 80, 50)
    settings = {"encoder": [encoder], "detector": [WHOLE], "alignment": ["arcface"]}
    both, first, rest = (call(IdEmbedding, pictures=pictures, **settings)[0] for pictures in ([one, two], [one], [two]))
    assert_near(both.tokens, (first.tokens + 2 * rest.tokens) / 3, 1e-4)
    assert float(both.embedding.norm()) == pytest.approx(1, abs=1e-5)


def test_a_reference_from_outside_is_framed_like_the_clip(model, vae):
    crops = clip(4)
    picture = clip(1, 200, 300)
    plain, framed = (
        sample(model, vae, crops, reference=picture, detector=detector)[1]["samples"]
        for detector in (None, FixedFaces((0.6, 0.5, 0.7, 0.65)))
    )
    assert (plain - framed).abs().max() > 1e-3


def test_no_output_has_the_id_of_an_input():
    """ComfyUI's early versions of this node schema refuse that; the names people see are free."""
    for node in asyncio.run(SVFRExtension().get_node_list()):
        schema = node.GET_SCHEMA()
        assert not {entry.id for entry in schema.inputs} & {entry.id for entry in schema.outputs}, schema.node_id


def test_presets_and_switches_give_tasks():
    assert call(TaskVector) == (BFR,)
    assert call(TaskVector, preset=SWITCHES, restore=False, inpaint=True) == (frozenset({Task.INPAINTING}),)
    for name, tasks in PRESETS.items():
        assert call(TaskVector, preset=name) == (frozenset(tasks),)
    with pytest.raises(InputError, match="No task was chosen"):
        call(TaskVector, restore=False)
