"""The whole-clip denoiser around stub networks: gathering, guidance, batching, blending, steps."""

from dataclasses import replace

import pytest
import torch
from support.stubs import StubBackend

from svfr_model.base.errors import InputError
from svfr_model.engine.conditioning import Conditioning
from svfr_model.engine.denoiser import ClipDenoiser, guidance_schedule
from svfr_model.engine.solvers import karras_sigmas
from svfr_model.engine.windows import WindowPlan


def build(backend, count=20, *, guidance=2.0, steps=4, reference=True, batch=2, plan=None):
    conditioning = Conditioning(
        degraded=torch.randn(count, 4, 4, 4),
        task=(1, 0, 1),
        reference=torch.randn(4, 4, 4) if reference else None,
        tokens=torch.randn(5, 6) if reference else None,
    )
    plan = plan or WindowPlan(8, 3, "reference")
    return ClipDenoiser(backend, conditioning, plan, [guidance] * steps, karras_sigmas(steps), batch)


@pytest.mark.parametrize("name", ["reference", "linear"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 20])
def test_an_identity_network_gives_the_clip_back(name, count):
    backend = StubBackend(lambda x, *_: x)
    denoiser = build(backend, count, plan=WindowPlan(8, 3, name))
    x = torch.randn(count, 4, 4, 4)
    for sigma in denoiser.sigmas[:-1]:
        assert torch.allclose(denoiser(x, sigma), x, atol=1e-5)


def test_each_half_sees_its_own_conditions_in_calls_of_its_own():
    backend = StubBackend(lambda x, *_: x)
    denoiser = build(backend)
    clip = torch.randn(20, 4, 4, 4)
    denoiser(clip, 700.0)
    given = denoiser.conditioning
    guided, plain = backend.calls[:2], backend.calls[2:]
    for half in (guided, plain):
        shown = [window for call in half for window in zip(call[0], call[2], strict=True)]
        windows = [list(window.frames) for window in denoiser.plan.at_step(20, 0)]
        assert len(shown) == len(windows) == 4
        for (x, degraded), frames in zip(shown, windows, strict=True):
            assert torch.equal(x, clip[frames])
            assert torch.equal(degraded, given.degraded[frames])
    for x, sigma, _, reference, tokens, task in guided:
        assert len(x) == 2
        assert sigma == 700.0
        assert task.tolist() == [1, 0, 1]
        assert all(torch.equal(row, given.reference) for row in reference)
        assert all(torch.equal(row, given.tokens) for row in tokens)
    for _, _, _, reference, tokens, task in plain:
        assert reference is None
        assert tokens is None
        assert task.tolist() == [1, 0, 1]


def test_tokens_that_are_all_zero_are_none():
    backend = StubBackend(lambda x, *_: x)
    base = build(backend)
    given = replace(base.conditioning, tokens=torch.zeros(5, 6))
    replace(base, conditioning=given)(torch.randn(20, 4, 4, 4), 700.0)
    assert not backend.guided
    assert [call[3] is not None for call in backend.calls] == [True, True, False, False]
    backend.calls.clear()
    replace(base, conditioning=replace(given, reference=None))(torch.randn(20, 4, 4, 4), 700.0)
    assert [call[3] for call in backend.calls] == [None, None], "both halves are the same: one is run"


def test_guidance_extrapolates_from_the_unconditional_estimate():
    def estimate(x, sigma, degraded, reference, tokens, task):
        on = tokens.flatten(1).any(1).float().view(-1, 1, 1, 1, 1)
        return torch.zeros_like(x) + 1 + 4 * on

    assert build(StubBackend(estimate), guidance=2.5)(torch.zeros(20, 4, 4, 4), 700.0).unique().tolist() == (
        pytest.approx([1 + 2.5 * 4])
    )


def test_guidance_changes_with_the_step():
    def estimate(x, sigma, degraded, reference, tokens, task):
        return torch.zeros_like(x) + tokens.flatten(1).any(1).float().view(-1, 1, 1, 1, 1)

    backend = StubBackend(estimate)
    base = build(backend)
    denoiser = ClipDenoiser(backend, base.conditioning, base.plan, guidance_schedule(1, 3, 4), base.sigmas)
    got = [denoiser(torch.zeros(20, 4, 4, 4), sigma).mean().item() for sigma in base.sigmas[:-1]]
    assert got == pytest.approx([1, 5 / 3, 7 / 3, 3])


@pytest.mark.parametrize(
    ("guidance", "reference", "rows"), [(2.0, True, 2), (1.0, True, 1), (0.0, True, 1), (2.0, False, 1)]
)
def test_halves_without_effect_are_not_run(guidance, reference, rows):
    backend = StubBackend(lambda x, *_: x)
    denoiser = build(backend, guidance=guidance, reference=reference)
    denoiser(torch.randn(20, 4, 4, 4), 700.0)
    windows = len(denoiser.plan.at_step(20, 0))
    assert sum(call[0].shape[0] for call in backend.calls) == windows * rows


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_the_batch_changes_no_number(batch):
    def estimate(x, sigma, degraded, reference, tokens, task):
        return x * 0.5 + degraded + reference[:, None] + tokens.sum((1, 2)).view(-1, 1, 1, 1, 1)

    torch.manual_seed(1)
    one = build(StubBackend(estimate), batch=1)
    backend = StubBackend(estimate)
    other = ClipDenoiser(backend, one.conditioning, one.plan, one.guidance, one.sigmas, batch)
    x = torch.randn(20, 4, 4, 4)
    assert torch.allclose(one(x, 100.0), other(x, 100.0), atol=1e-5)
    assert max(call[0].shape[0] for call in backend.calls) == min(batch, 4), (
        "a call is guided or not: four windows at most"
    )


def test_windows_of_other_lengths_are_not_batched_together():
    """Shots of 4, 4, 8 and 8 frames: one window each, and a call takes windows of one length."""
    backend = StubBackend(lambda x, *_: x + 1)
    plan = WindowPlan(8, 3, "linear", cuts=(4, 8, 16))
    denoiser = build(backend, 24, plan=plan, reference=False, batch=3)
    x = torch.randn(24, 4, 4, 4)
    assert torch.allclose(denoiser(x, 700.0), x + 1)
    assert [tuple(call[0].shape[:2]) for call in backend.calls] == [(2, 4), (2, 8)]


def test_frames_repeated_in_a_window_count_with_all_their_weights():
    """3 frames in a window of 4: frame 0 is at positions 0 and 3, both of weight 1."""

    def by_position(x, *_):
        return torch.arange(4.0).view(1, 4, 1, 1, 1).expand_as(x)

    denoiser = build(StubBackend(by_position), 3, plan=WindowPlan(4, 0, "reference"), reference=False)
    frames = denoiser(torch.zeros(3, 4, 4, 4), 700.0)[:, 0, 0, 0]
    assert frames.tolist() == pytest.approx([(1 * 0 + 1 * 3) / 2, 1, 2])


def test_the_step_is_the_last_level_not_below_sigma():
    denoiser = build(StubBackend(lambda x, *_: x), steps=5)
    sigmas = denoiser.sigmas
    for k, sigma in enumerate(sigmas[:-1]):
        assert denoiser.step_of(sigma) == k
        assert denoiser.step_of(sigma * (1 + 1e-6)) == k
    assert denoiser.step_of((sigmas[1] + sigmas[2]) / 2) == 1
    assert denoiser.step_of(sigmas[0] * 2) == 0
    assert denoiser.step_of(sigmas[4] / 2) == 4


def test_every_network_call_is_reported_and_can_cancel():
    backend = StubBackend(lambda x, *_: x)
    base = build(backend)
    seen = []

    def callback(stage, done, total, preview):
        seen.append((stage, done, total))
        if done == 2:
            raise KeyboardInterrupt

    denoiser = ClipDenoiser(backend, base.conditioning, base.plan, base.guidance, base.sigmas, 2, callback)
    with pytest.raises(KeyboardInterrupt):
        denoiser(torch.zeros(20, 4, 4, 4), 700.0)
    assert seen == [("windows", 1, 4), ("windows", 2, 4)]
    assert len(backend.calls) == 2


def test_wrong_lengths_are_refused():
    backend = StubBackend(lambda x, *_: x)
    base = build(backend)
    with pytest.raises(InputError, match="guidance"):
        ClipDenoiser(backend, base.conditioning, base.plan, [1.0], base.sigmas)
    with pytest.raises(InputError, match="batch"):
        ClipDenoiser(backend, base.conditioning, base.plan, base.guidance, base.sigmas, 0)
