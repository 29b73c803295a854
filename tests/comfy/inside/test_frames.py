"""What belongs to a frame stays with it: masks, limits and landmarks of clips in which they move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_networks import write_random_weights
from svfr_pack.nodes.face import FaceCrop
from svfr_pack.nodes.images import to_pictures
from svfr_pack.nodes.model import load_model
from svfr_pack.nodes.paste import PasteBack
from svfr_pack.nodes.progress import Progress
from svfr_pack.nodes.restore import Restore
from svfr_pack.nodes.self_reference import SelfReference
from svfr_pack.nodes.types import ResidentEncoder
from svfr_pack.nodes.vae import load_vae
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.engine.solvers import karras_sigmas
from svfr_pack.svfr_model.faces.crop import crop_mask
from svfr_pack.svfr_model.faces.geometry import align_face
from svfr_pack.svfr_model.faces.options import PasteOptions
from svfr_pack.svfr_model.faces.paste import Patch, paste_frame
from svfr_pack.svfr_model.networks.identity import load_identity_encoder
from test_nodes import BFR, WHOLE, FixedFaces, call, clip, pasting

INPAINTING = frozenset({Task.INPAINTING})
HEIGHT, WIDTH, COUNT, START = 96, 160, 9, 3


class Latecomer(FixedFaces):
    """Sees its face only in frames whose first pixel is white."""

    def detect(self, frames):
        return [self.faces(frame.shape[:2]) if frame[0, 0].min() > 250 else [] for frame in frames]


@pytest.fixture
def scene():
    """Frames with a face at the left from frame START on, and a mask that moves down at its right."""
    frames = clip(COUNT, HEIGHT, WIDTH)
    frames[:, 0, 0] = (torch.arange(COUNT) >= START).float()[:, None]
    mask = torch.zeros(COUNT, HEIGHT, WIDTH)
    for number in range(COUNT):
        mask[number, 20 + 6 * number : 26 + 6 * number, 80:86] = 1
    detector = Latecomer((0.2, 0.25, 0.5, 0.75), size=(HEIGHT, WIDTH))
    crops, masks, plans, _ = call(
        FaceCrop, frames=frames, detector=detector, mask=mask, width=64, height=64, stride=1, min_length=2
    )
    assert [(plan.track.start, plan.track.stop) for plan in plans] == [(START, COUNT)]
    return frames, mask, crops, masks, plans


def test_the_mask_of_each_frame_is_in_its_crop(scene):
    _, mask, _, masks, (plan,) = scene
    expected = np.stack([crop_mask(mask[START + i].numpy(), plan, i) for i in range(len(plan))])
    assert np.array_equal(masks[0].numpy(), expected)
    assert len({mask.tobytes() for mask in expected}) == len(plan)


def test_each_frame_is_filled_where_its_mask_is(scene):
    frames, _, crops, masks, (plan,) = scene
    black = torch.zeros_like(crops[0])
    pasted, _ = call(PasteBack, **pasting([black], masks, [plan], frames, task=INPAINTING), masks=masks)
    options = PasteOptions(color_match="none").for_tasks(INPAINTING)
    for i in range(len(plan)):
        patch = Patch(plan, i, black[i].permute(2, 0, 1), None, masks[0][i].numpy())
        expected = paste_frame(frames[START + i].numpy(), [patch], options).frame
        assert np.allclose(pasted[START + i].numpy(), expected, atol=1e-6), i
    assert torch.equal(pasted[:START], frames[:START])


def test_each_frame_changes_only_where_it_is_allowed_to(scene):
    frames, _, crops, masks, plans = scene
    allowed = torch.zeros(COUNT, HEIGHT, WIDTH)
    allowed[::2] = 1
    pasted, changed = call(PasteBack, **pasting([torch.zeros_like(crops[0])], masks, plans, frames, allowed=allowed))
    for number in range(START, COUNT):
        assert torch.equal(pasted[number], frames[number]) == (number % 2 == 1)
        assert (changed[number].max() == 1) == (number % 2 == 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    write_random_weights(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    names = "insightface_glint360k.safetensors", "id_linear.safetensors"
    return ResidentEncoder(load_identity_encoder(*(folder / name for name in names)))


def test_where_no_face_is_found_the_tracks_place_in_the_crops_is_taken(scene, encoder):
    _, _, (crops,), _, (plan,) = scene
    _, identity, score, index, _ = call(
        SelfReference, frames=crops[:5], detector=FixedFaces(), encoder=encoder, track=plan
    )
    assert (score, index) == (0, 2)
    assert np.abs(plan.landmarks - plan.track.landmarks).max() > 5
    with encoder.loaded() as networks:
        expected, elsewhere = (
            networks.encode(align_face(to_pictures(crops)[2], points[2])[None]).tokens
            for points in (plan.landmarks, plan.track.landmarks)
        )
    assert (identity.tokens - expected).abs().mean() < 0.01, "but for rounding"
    assert (identity.tokens - elsewhere).abs().mean() > 0.1


def test_the_first_pass_has_the_steps_it_is_given(folder, encoder):
    model, vae = load_model(folder / "unet.safetensors", "fp32"), load_vae(folder / "svd_vae.safetensors", "fp32")
    levels = []

    def told(apply, arguments):
        levels.append(float(arguments["timestep"][0]))
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(told)
    given = {"model": model, "vae": vae, "crops": clip(4), "task": BFR, "detector": WHOLE, "encoder": encoder}
    settings = {"steps": 2, "guidance_from": 1.0, "guidance_to": 1.0}
    for first_steps, expected in ((3, 3), (0, 2)):
        levels.clear()
        call(Restore, **given, **settings, first_steps=first_steps)
        assert levels == pytest.approx(karras_sigmas(expected)[:-1] + karras_sigmas(2)[:-1])


def test_one_bar_is_filled_over_all_stages_in_turn():
    progress = Progress({"crop": 4, "denoise": 6, "paste": 10})
    shown = []
    progress._bar.update_absolute = lambda value, preview=None: shown.append(value)
    for stage, done, total in [("crop", 2, 4), ("crop", 4, 4), ("denoise", 1, 2), ("windows", 1, 9), ("paste", 5, 10)]:
        progress(stage, done, total)
    assert shown == [2, 4, 7, 15]
