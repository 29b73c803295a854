"""Encoding, decoding, one pass and the self-referred run, with networks whose answers are known."""

import gc
import weakref

import numpy as np
import pytest
import torch
from support.stubs import StubReferrer, StubVAE, clip, networks_of

from svfr_model.base.errors import InputError, NotFiniteError
from svfr_model.base.pixels import from_network_range, to_network_range
from svfr_model.base.tasks import Task
from svfr_model.engine.conditioning import Conditioning, decode_clip, encode_clip
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Known, Sampling, noise_frames, restore, sample_pass
from svfr_model.engine.solvers import karras_sigmas
from svfr_model.engine.windows import WindowPlan
from svfr_model.networks.identity import Identity

BFR = frozenset({Task.BFR})


def frames_of(restored, networks, options):
    return torch.cat(list(restored.decode(networks.vae, options)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 15, 16, 17, 40])
@pytest.mark.parametrize("plan", ["reference", "linear"])
def test_a_network_that_keeps_the_clip_gives_it_back(count, plan):
    networks, options = networks_of(), RestoreOptions(steps=3, passes=1, plan=WindowPlan(name=plan))
    pixels = clip(count)
    restored = restore(networks, pixels, BFR, options)
    assert torch.equal(from_network_range(frames_of(restored, networks, options)), pixels)


def test_cuts_are_respected_by_windows_padding_and_decoding():
    networks = networks_of()
    options = RestoreOptions(steps=3, passes=1, plan=WindowPlan(8, 3, "linear", cuts=(2, 12)))
    pixels = clip(30)
    sizes = []
    decode = networks.vae.decode
    networks.vae.decode = lambda latents: sizes.append(len(latents)) or decode(latents)
    restored = restore(networks, pixels, BFR, options)
    assert restored.latents.shape[0] == 32
    assert restored.cuts == (4, 14)
    assert torch.equal(from_network_range(frames_of(restored, networks, options)), pixels)
    assert sizes == [4, 10, 16, 6]
    for x, *_ in networks.backend.calls:
        assert x.shape[1] in (4, 8)


@pytest.mark.parametrize("count", [4, 9])
def test_a_clip_shorter_than_a_window_is_one_window_of_its_own_length(count):
    networks = networks_of(referrer=StubReferrer())
    restore(networks, clip(count), BFR, RestoreOptions(steps=2, plan=WindowPlan(16, 3, "reference")))
    assert {call[0].shape[1] for call in networks.backend.calls} == {count}


def test_the_start_is_the_degraded_clip_plus_noise_and_not_noise_alone():
    seen = []

    def estimate(x, sigma, degraded, *_):
        seen.append((x.clone(), sigma))
        return degraded * StubVAE.scaling_factor

    networks, pixels = networks_of(estimate), clip(4)
    noise = torch.randn(4, 4, 4, 4)
    options = RestoreOptions(steps=2, passes=1)
    restore(networks, pixels, BFR, options, sampling=Sampling(noise=noise))
    start = networks.vae.encode(to_network_range(pixels)) * StubVAE.scaling_factor + 700 * noise
    assert torch.allclose(seen[0][0][0], start)


def test_strength_skips_the_first_steps():
    networks = networks_of()
    restore(networks, clip(4), BFR, RestoreOptions(steps=10, passes=1, strength=0.35))
    assert [call[1] for call in networks.backend.calls] == karras_sigmas(10)[7:-1]


def test_same_seed_same_numbers_and_another_seed_others():
    networks = networks_of(lambda x, *_: x * 0.5)
    pixels = clip(20)
    one, two, other = (
        restore(networks, pixels, BFR, RestoreOptions(steps=3, passes=1, seed=seed)).latents for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)


def test_noise_of_a_frame_does_not_depend_on_the_clips_length():
    few, many = (torch.stack(list(noise_frames(count, (4, 8, 8), 9))) for count in (3, 200))
    assert torch.equal(few, many[:3])
    assert many.std().item() == pytest.approx(1, abs=0.02)


def test_augmentation_reaches_the_condition_and_not_the_start():
    pixels = clip(4)
    noise = torch.randn(4, 3, 8, 8)
    encoded = encode_clip(StubVAE(), pixels, BFR, augmentation=0.1, noise=iter(noise))
    plain = encode_clip(StubVAE(), pixels, BFR)
    assert plain.start is plain.degraded
    assert torch.equal(encoded.start, plain.start)
    assert torch.allclose(encoded.degraded - plain.start, StubVAE().encode(0.1 * noise), atol=1e-6)


def test_augmentation_has_a_seed_of_its_own():
    """The condition's noise is neither the pass's own, which the network is to remove, nor the second pass's."""
    pixels = torch.full((4, 3, 8, 8), 128, dtype=torch.uint8)
    networks = networks_of()
    seen = {}
    for seed in (5, 6):
        for strength in (0.0, 0.25):
            restore(networks, pixels, BFR, RestoreOptions(steps=1, passes=1, seed=seed, augmentation=strength))
            seen[seed, strength] = networks.backend.calls[-1][2][0]
    for seed in (5, 6):
        drawn = torch.stack(list(noise_frames(4, (3, 8, 8), seed + (1 << 20))))
        added = seen[seed, 0.25] - seen[seed, 0.0]
        assert torch.allclose(added, StubVAE().encode(0.25 * drawn), atol=1e-6)


def test_each_frame_is_encoded_once_though_two_passes_use_it():
    networks = networks_of(referrer=StubReferrer())
    encode, counted = networks.vae.encode, []

    def counting(pixels, *, full_precision=False):
        counted.append((len(pixels), full_precision))
        return encode(pixels, full_precision=full_precision)

    networks.vae.encode = counting
    restore(networks, clip(50), BFR, RestoreOptions(steps=2))
    assert counted == [(50, True), (1, False)]


def test_large_frames_are_encoded_fewer_at_a_time(monkeypatch):
    networks = networks_of()
    encode, counted = networks.vae.encode, []
    networks.vae.encode = lambda pixels, **options: counted.append(len(pixels)) or encode(pixels, **options)
    pixels = clip(7)
    monkeypatch.setattr("svfr_model.engine.conditioning.ENCODE_PIXELS", 3 * 8 * 8 + 1)
    chunked = encode_clip(networks.vae, pixels, BFR)
    assert counted == [3, 3, 1]
    monkeypatch.setattr("svfr_model.engine.conditioning.ENCODE_PIXELS", 1)
    assert torch.equal(encode_clip(networks.vae, pixels, BFR).start, chunked.start)
    assert counted[3:] == [1] * 7


def test_a_moving_mask_stays_with_its_frames_when_they_are_encoded_in_parts(monkeypatch):
    """A mask that moves by two pixels a frame: in each frame it is white, and nothing else is."""
    pixels = torch.zeros(5, 3, 4, 12, dtype=torch.uint8)
    mask = torch.zeros(5, 1, 4, 12)
    for frame in range(5):
        mask[frame, ..., 2 * frame : 2 * frame + 2] = 1
    expected = torch.full((5, 2, 6), -1.0)
    for frame in range(5):
        expected[frame, :, frame] = 1
    inpainting = frozenset({Task.INPAINTING})
    for at_once in (1, 2, 3, 5):
        monkeypatch.setattr("svfr_model.engine.conditioning.ENCODE_PIXELS", at_once * 4 * 12)
        encoded = encode_clip(StubVAE(), pixels, inpainting, mask)
        assert torch.equal(encoded.start[:, 0], expected), at_once
        whole = encode_clip(StubVAE(), pixels, inpainting, mask[1:2])
        assert torch.equal(whole.start[:, 0], expected[1:2].expand(5, -1, -1)), "one mask serves all frames"


def test_a_result_that_is_not_finite_is_refused_by_frame():
    def overflowing(x, sigma, degraded, *_):
        estimate = degraded * StubVAE.scaling_factor
        estimate[:, 2:] = float("nan")
        return estimate

    networks, options = networks_of(overflowing), RestoreOptions(steps=2, passes=1)
    restored = restore(networks, clip(4), BFR, options)
    with pytest.raises(NotFiniteError, match="fp32 or bf16"):
        frames_of(restored, networks, options)


def test_second_pass_is_told_what_the_first_found():
    referrer = StubReferrer()
    networks = networks_of(referrer=referrer)
    pixels, options = clip(20), RestoreOptions(steps=3, first_steps=2, plan=WindowPlan(length=8))
    points = torch.rand(20, 5, 2)
    restored = restore(networks, pixels, BFR, options, known=Known(landmarks=points))
    assert torch.equal(from_network_range(referrer.frames), pixels[:8])
    assert torch.equal(referrer.landmarks, points[:8])
    assert restored.reference.index == 1
    sigmas = [call[1] for call in networks.backend.calls]
    first = [call for call in networks.backend.calls[: sigmas.index(karras_sigmas(3)[1])]]
    assert all(call[3] is None and call[4] is None for call in first[:2])
    last = networks.backend.guided[-1]
    assert torch.allclose(last[3][-1], networks.vae.encode(referrer.frames[1:2])[0])
    assert (last[4][-1] == 2).all()


@pytest.mark.parametrize(("first_steps", "expected"), [(2, 2), (7, 7), (None, 4)])
def test_the_first_pass_has_steps_of_its_own(first_steps, expected):
    networks = networks_of(referrer=StubReferrer())
    options = RestoreOptions(steps=4, first_steps=first_steps, guidance=(1.0, 1.0))
    restore(networks, clip(4), BFR, options)
    assert [call[1] for call in networks.backend.calls] == karras_sigmas(expected)[:-1] + karras_sigmas(4)[:-1]


def test_a_given_reference_replaces_the_first_pass():
    networks = networks_of()
    picture = torch.rand(3, 8, 8) * 2 - 1
    restore(networks, clip(4), BFR, RestoreOptions(steps=2), known=Known(reference=picture))
    assert len(networks.backend.calls) == 4, "one guided and one unguided call a step"
    assert torch.allclose(networks.backend.calls[0][3][0], networks.vae.encode(picture[None])[0])


def test_a_given_identity_is_kept_in_both_passes():
    networks = networks_of(referrer=StubReferrer())
    identity = Identity(torch.full((5, 6), 7.0), torch.ones(512))
    restore(networks, clip(4), BFR, RestoreOptions(steps=2), known=Known(identity=identity))
    assert len(networks.backend.guided) == 4
    assert all((call[4] == 7).all() for call in networks.backend.guided)


def test_second_pass_draws_the_noise_of_the_next_seed():
    starts = []
    networks = networks_of(lambda x, *_: starts.append(x[0].clone()) or x * 0, StubReferrer())
    pixels = clip(4)
    restore(networks, pixels, BFR, RestoreOptions(steps=1, seed=5))
    restore(networks, pixels, BFR, RestoreOptions(steps=1, seed=6, passes=1))
    first, second, _, next_seed = starts
    assert not torch.allclose(first, second)
    assert torch.equal(second, next_seed)


@pytest.mark.parametrize("overlap", [0, 1, 4, 15])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 33, 50])
def test_decoding_yields_every_frame_once_in_order(count, overlap):
    latents = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 4, 2, 2)
    frames = torch.cat(list(decode_clip(StubVAE(), latents, chunk=16, overlap=overlap)))
    assert torch.allclose(frames[:, 0, 0, 0], torch.arange(count) / StubVAE.scaling_factor)


def test_overlapping_chunks_fade_into_each_other():
    class Counting(StubVAE):
        calls = 0

        def decode(self, latents):
            self.calls += 1
            return torch.full((len(latents), 3, 2, 2), float(self.calls))

    frames = torch.cat(list(decode_clip(Counting(), torch.zeros(8, 4, 1, 1), chunk=6, overlap=3)))
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([1, 1, 1, 1.25, 1.5, 1.75, 2, 2])


def test_progress_names_every_stage_in_order():
    seen = []
    networks = networks_of(referrer=StubReferrer())
    options = RestoreOptions(steps=2)

    def callback(stage, done, total, preview):
        if "windows" not in stage:
            seen.append((stage, done, total))

    restored = restore(networks, clip(5), BFR, options, callback=callback)
    list(restored.decode(networks.vae, options, callback))
    assert seen == [
        ("encode", 5, 5),
        ("first denoise", 1, 2),
        ("first denoise", 2, 2),
        ("first decode", 5, 5),
        ("denoise", 1, 2),
        ("denoise", 2, 2),
        ("decode", 5, 5),
    ]


@pytest.mark.parametrize("stage", ["encode", "first windows", "first denoise", "first decode", "windows", "denoise"])
def test_cancelling_at_any_stage_holds_nothing(stage):
    class Stop(Exception):
        pass

    def callback(name, done, total, preview):
        if name == stage:
            raise Stop

    networks = networks_of(referrer=StubReferrer())
    networks.backend.calls = weakly = _WeakCalls()
    with pytest.raises(Stop):
        restore(networks, clip(20), BFR, RestoreOptions(steps=2), callback=callback)
    gc.collect()
    assert weakly.alive() == 0


class _WeakCalls(list):
    """Keeps only weak references to the latents of each call."""

    def append(self, call):
        super().append(weakref.ref(call[0]))

    def alive(self):
        return sum(reference() is not None for reference in self)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passes": 3}, "passes"),
        ({"strength": 0.0}, "strength"),
        ({"strength": 1.5}, "strength"),
        ({"solver": "ddim"}, "ddim"),
        ({"schedule": "cosine"}, "cosine"),
        ({"augmentation": -0.1}, "augmentation"),
        ({"augmentation": float("nan")}, "augmentation"),
        ({"guidance": (1.0, float("inf"))}, "guidance"),
        ({"seed": -1}, "seed"),
        ({"seed": 10**20}, "seed"),
        ({"decode_chunk": 4, "decode_overlap": 4}, "chunk"),
        ({"batch": 0}, "batch"),
        ({"steps": 0}, "steps"),
        ({"first_steps": 0}, "steps"),
    ],
)
def test_options_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        RestoreOptions(**change)


def test_a_strength_that_leaves_no_step_is_refused():
    with pytest.raises(InputError, match="leaves none of 4 steps"):
        restore(networks_of(), clip(4), BFR, RestoreOptions(steps=4, strength=0.2, passes=1))


def test_sizes_that_do_not_fit_are_refused_with_the_multiple():
    networks = networks_of()
    assert networks.size_multiple == 4
    with pytest.raises(InputError, match=r"10x8.*multiples of 4"):
        restore(networks, torch.zeros(2, 3, 8, 10, dtype=torch.uint8), BFR, RestoreOptions(passes=1))
    with pytest.raises(InputError, match=r"\(N,3,H,W\)"):
        restore(networks, torch.zeros(0, 3, 8, 8, dtype=torch.uint8), BFR, RestoreOptions(passes=1))


def test_two_passes_without_a_referrer_are_refused():
    with pytest.raises(InputError, match="one pass"):
        restore(networks_of(), clip(4), BFR, RestoreOptions(steps=2))


def test_noise_of_another_shape_is_refused():
    networks = networks_of()
    encoded = encode_clip(networks.vae, clip(4), BFR)
    with pytest.raises(InputError, match="noise is"):
        sample_pass(
            networks,
            encoded.start,
            Conditioning(encoded.degraded, (1, 0, 0)),
            RestoreOptions(passes=1),
            sampling=Sampling(noise=torch.zeros(3, 4, 4, 4)),
        )


def test_masks_enter_only_with_inpainting():
    pixels, mask = clip(4), torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    networks = networks_of()
    options = RestoreOptions(steps=1, passes=1)
    restored = restore(networks, pixels, frozenset({Task.INPAINTING}), options, known=Known(mask=mask))
    frames = from_network_range(frames_of(restored, networks, options))
    assert (frames[..., :4] == 255).all()
    assert torch.equal(frames[..., 4:], pixels[..., 4:])
    assert np.isfinite(frames.numpy()).all()


def test_sigmas_and_solver_from_elsewhere_replace_the_options_own():
    networks = networks_of()
    asked = []

    def solver(denoiser, x, sigmas, callback=None):
        asked.append(sigmas)
        return denoiser(x, sigmas[0])

    options = RestoreOptions(steps=9, passes=1, strength=0.5, guidance=(1.0, 2.0))
    sampling = Sampling(solver=solver, sigmas=torch.tensor([5.0, 1.0, 0.0]))
    restored = restore(networks, clip(4), BFR, options, sampling=sampling)
    assert asked == [[5.0, 1.0, 0.0]]
    assert [call[1] for call in networks.backend.calls] == [5.0]
    assert restored.latents.shape == (4, 4, 4, 4)
    with pytest.raises(InputError, match="Sigmas must begin above 0"):
        restore(networks, clip(4), BFR, options, sampling=Sampling(sigmas=[0.0]))
