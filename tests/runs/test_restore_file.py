"""What a job hands from its files to the networks: the reference picture and the identity it shows."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from support import clips, dots
from support.files import frames_of, write
from support.stubs import StubBackend, StubVAE
from support.video import encode, stream_facts

from svfr_model.base.errors import InputError
from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.media import open_clip
from svfr_model.media.options import ReadOptions, VideoOptions
from svfr_model.media.pictures import write_picture
from svfr_model.networks.identity import Identity
from svfr_model.runs.loader import Loader
from svfr_model.runs.options import FaceOptions
from svfr_model.runs.portrait import cover, crop_portrait, identity_of
from svfr_model.runs.restore_file import Job, run

SIZE = (64, 64)
TWO_PASSES = RestoreOptions(steps=2, passes=2)


class HeadColorIdentity(dots.HeadColorEncoder):
    """Tokens and embedding of a dot person: the colour of the head."""

    def encode(self, faces):
        embedding = self.embed(faces).mean(dim=0)
        return Identity(embedding[:6].expand(5, 6), embedding)


class StubLoader:
    """Networks that find the degraded clip perfect; keeps what was asked of it."""

    reference_frame, alignment = "best", "arcface"
    vae_factor = StubVAE.factor

    def __getattr__(self, name):
        return getattr(Loader(), name)

    def files(self, **_):
        return {}

    def __init__(self):
        self.face_detector, self.encoder = dots.DotDetector(), HeadColorIdentity()
        self.backend = StubBackend(lambda x, sigma, degraded, *_: degraded * StubVAE.scaling_factor)
        self.required = {}
        self.self_referred = None

    def require(self, **needed):
        self.required = needed

    def check_size(self, width, height):
        """Any size fits."""

    def networks(self, *, self_referred):
        self.self_referred = self_referred
        return Networks(self.backend, StubVAE())


@pytest.fixture
def job(tmp_path):
    """Dot person 0 in a clip of 8 frames, and a picture of dot person 1 to refer to."""
    actor = clips.Actor(dots.dot_person(0), clips.still(80, 64, 0.8))
    scene = clips.Scene((clips.Shot(8, (actor,), background=-1),), width=160, height=128, noise=0.0)
    write(tmp_path / "clip.mp4", list(scene))
    write_picture(tmp_path / "person.png", dots.dot_person(1).picture)
    faces = FaceOptions(crop=CropOptions(size=SIZE))
    return Job(
        tmp_path / "clip.mp4",
        tmp_path / "out.mp4",
        frozenset({Task.BFR}),
        TWO_PASSES,
        faces=faces,
        reference=tmp_path / "person.png",
    )


def identity_of_the_picture():
    return identity_of({"it": dots.dot_person(1).picture}, dots.DotDetector(), HeadColorIdentity())


def test_with_two_passes_the_reference_also_gives_the_identity(job):
    loader = StubLoader()
    run(job, loader)
    tokens = identity_of_the_picture().tokens
    assert tokens.any()
    assert len(loader.backend.calls) == 4, "the picture replaces the first pass"
    assert len(loader.backend.guided) == 2
    assert all(torch.equal(call[4][-1], tokens) for call in loader.backend.guided)
    assert loader.required == {"detector": True, "encoder": True, "landmarks": False}
    assert loader.self_referred is False


def test_with_one_pass_the_reference_gives_no_identity(job):
    loader = StubLoader()
    run(replace(job, options=replace(TWO_PASSES, passes=1)), loader)
    assert not loader.backend.guided
    assert any(call[3] is not None and call[3].any() for call in loader.backend.calls)
    assert loader.required["encoder"] is False


def test_pictures_of_the_person_come_before_the_reference(job, tmp_path):
    write_picture(tmp_path / "other.png", dots.dot_person(2).picture)
    loader = StubLoader()
    run(replace(job, identity=(tmp_path / "other.png",)), loader)
    other = identity_of({"it": dots.dot_person(2).picture}, dots.DotDetector(), HeadColorIdentity()).tokens
    assert len(loader.backend.guided) == 2
    assert all(torch.equal(call[4][-1], other) for call in loader.backend.guided)
    assert not torch.allclose(other, identity_of_the_picture().tokens)


def test_the_reference_picture_is_cut_sharp_though_the_crops_are_softened(job):
    picture, detector, vae = dots.dot_person(1).picture, dots.DotDetector(), StubVAE()
    sharp, soft = (
        vae.encode(crop_portrait(picture, detector, CropOptions(size=SIZE, pre_downscale=reduction))[None])[0]
        for reduction in (1, 4)
    )
    detail = {}
    for reduction in (1, 4):
        loader = StubLoader()
        crop = CropOptions(size=SIZE, pre_downscale=reduction)
        run(replace(job, faces=replace(job.faces, crop=crop)), loader)
        assert torch.equal(loader.backend.calls[0][3][-1], sharp)
        detail[reduction] = loader.backend.calls[0][2].diff(dim=-1).square().mean().item()
    assert (soft - sharp).abs().max() > 0.1
    assert detail[4] < 0.7 * detail[1]


def test_a_picture_of_another_shape_is_cut_to_its_middle_and_not_squeezed():
    ramp = torch.arange(256.0).expand(3, 128, 256)
    assert torch.equal(cover(ramp, 128, 128), ramp[..., 64:192])
    small = cover(ramp, 64, 64)
    assert small.shape == (3, 64, 64)
    assert torch.allclose(small[0, 0], 64.5 + 2 * torch.arange(64.0), atol=1e-3)
    assert torch.equal(cover(ramp.mT, 128, 128), ramp.mT[:, 64:192])


def test_whole_frames_are_given_the_reference_at_their_size(job):
    loader = StubLoader()
    run(replace(job, faces=None), loader)
    picture = torch.from_numpy(dots.dot_person(1).picture).permute(2, 0, 1).float() / 127.5 - 1
    expected = StubVAE().encode(cover(picture, 160, 128)[None])[0]
    assert torch.allclose(loader.backend.calls[0][3][-1], expected, atol=1e-6)
    assert len(loader.backend.guided) == 2
    assert all(torch.equal(call[4][-1], identity_of_the_picture().tokens) for call in loader.backend.guided)


def test_a_person_is_chosen_by_a_picture(job, tmp_path):
    """Two people in the clip, and a picture of the smaller one."""
    actors = [
        clips.Actor(dots.dot_person(0), clips.still(45, 64, 0.7)),
        clips.Actor(dots.dot_person(1), clips.still(120, 64, 0.5)),
    ]
    scene = clips.Scene((clips.Shot(8, tuple(actors), background=-1),), width=160, height=128, noise=0.0)
    write(tmp_path / "clip.mp4", list(scene))
    loader = StubLoader()
    loader.backend.estimate = lambda x, sigma, degraded, *_: torch.full_like(x, StubVAE.scaling_factor)
    faces = replace(job.faces, person=tmp_path / "person.png", paste=PasteOptions(color_match="none"))
    run(replace(job, faces=faces, reference=None, options=replace(TWO_PASSES, passes=1)), loader)
    row = frames_of(job.target)[:, 64].astype(int).mean((0, 2))
    assert row[112:128].min() > 240, "white, as the network makes everything"
    assert row[:70].max() < 180


def test_what_is_not_restored_keeps_the_ten_bits_of_the_source(job, tmp_path):
    """The dot person before a wall with a hundred steps between two levels of 8 bits."""
    actor = clips.Actor(dots.dot_person(0), clips.still(80, 64, 0.8))
    scene = clips.Scene((clips.Shot(4, (actor,), background=-1),), width=160, height=128, noise=0.0)
    fine = np.linspace(0, 200, 160).astype(np.uint16)[None, :, None]
    deep = [av.VideoFrame.from_ndarray(frame.astype(np.uint16) * 250 + fine, format="rgb48le") for frame in scene]
    encode(tmp_path / "deep.mkv", [frame.reformat(format="gbrp12le") for frame in deep], codec="ffv1")
    loader = StubLoader()
    loader.backend.estimate = lambda x, sigma, degraded, *_: torch.full_like(x, StubVAE.scaling_factor)
    told = replace(job, source=tmp_path / "deep.mkv", target=tmp_path / "out.mkv", writing=VideoOptions(codec="ffv1"))
    run(replace(told, reference=None, options=replace(TWO_PASSES, passes=1)), loader)
    before, after = (np.stack(list(open_clip(path, deep=True))) for path in (told.source, told.target))
    assert before.dtype == after.dtype == np.float32
    wall = slice(0, 20)
    assert np.abs(after - before)[:, :, wall].max() < 1 / 4000
    assert len(np.unique(after[:, :, wall] * 255 % 1)) > 4, "finer than 8 bits"
    assert np.abs(after - before)[:, 40:90, 60:100].max() > 0.2, "the face is restored"


def test_the_source_is_deinterlaced_and_the_target_coded_as_told(job, tmp_path):
    told = replace(job, target=tmp_path / "out.mkv", reading=ReadOptions(deinterlace=True))
    run(replace(told, writing=VideoOptions(codec="hevc")), StubLoader())
    assert stream_facts(told.target)["codec"] == "hevc"
    with pytest.raises(InputError, match="only videos can be deinterlaced"):
        run(replace(told, source=tmp_path / "person.png", target=tmp_path / "out.png"), StubLoader())


def test_a_codec_that_the_target_cannot_hold_is_refused_before_any_work(job):
    loader = StubLoader()
    with pytest.raises(InputError, match=r"ProRes video does not go into \.mp4"):
        run(replace(job, writing=VideoOptions(codec="prores")), loader)
    assert not loader.backend.calls
    assert not loader.required
