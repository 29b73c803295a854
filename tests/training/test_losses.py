"""Losses: what they measure, where their gradients go, and that they can be learned."""

import math

import pytest
import torch
from support import random_networks

from svfr_model.base.errors import InputError
from svfr_model.networks.identity import build_projection
from svfr_model.networks.unet import DiffusersBackend, build_unet
from svfr_model.tiny.unet import make_objective
from svfr_model.training.latents import ALL_TASKS, DrawOptions, LatentClips, draw_batch, draw_uses
from svfr_model.training.losses import (
    DenoisingBatch,
    LandmarkPredictor,
    LatentTransformer,
    MiddleTap,
    Negatives,
    SVFRObjective,
    draw_sigmas,
    facial_prior_loss,
    unified_latent_loss,
    velocity_loss,
    zero_start,
)


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(1)
    return build_unet(random_networks.RANDOM_UNET)


@pytest.fixture
def data():
    k, v, n = 5, 3, 8
    return LatentClips(
        torch.randn(k, n, 4, 8, 8).half(),
        torch.randn(k, v, n, 4, 8, 8).half() * 5,
        torch.tensor([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]] * k, dtype=torch.uint8),
        torch.randn(k, 2, 16, 7, 7).half(),
        torch.rand(k, n, 68, 2),
        0.18215,
    )


def inputs(rows=2, frames=4):
    return {
        "clean": torch.randn(rows, frames, 4, 8, 8),
        "sigma": torch.tensor([0.5, 20.0])[:rows],
        "noise": torch.randn(rows, frames, 4, 8, 8),
        "degraded": torch.randn(rows, frames, 4, 8, 8),
        "reference": torch.randn(rows, 4, 8, 8),
        "tokens": torch.randn(rows, 49, 32),
        "task": torch.tensor([[1.0, 0, 0], [0, 1, 1]])[:rows],
    }


def test_the_loss_is_edms_of_what_inference_computes(unet):
    """Weight (sigma^2+1)/sigma^2 times the squared error of the backend's own estimate, row by row."""
    given = inputs()
    expected = []
    for row in range(2):
        sigma = float(given["sigma"][row])
        x = given["clean"][row] + sigma * given["noise"][row]
        one = slice(row, row + 1)
        conditions = [given[name][one] for name in ("degraded", "reference", "tokens")]
        estimate = DiffusersBackend(unet)(x[None], sigma, *conditions, given["task"][row])[0]
        expected.append((sigma**2 + 1) / sigma**2 * (estimate - given["clean"][row]).pow(2).mean())
    loss = velocity_loss(unet, DenoisingBatch(**given))
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-3)


def test_sigmas_cover_the_samplers_range():
    sigmas = draw_sigmas(4000, torch.Generator().manual_seed(0))
    assert sigmas.min() >= 0.002
    assert sigmas.max() <= 700
    assert sigmas.log().median().item() == pytest.approx(0.6, abs=0.15)
    assert 0.02 < (sigmas > 100).float().mean() < 0.06


def test_sigmas_can_be_drawn_where_a_few_steps_use_them():
    sigmas = draw_sigmas(4000, torch.Generator().manual_seed(0), mean=-9.0, spread=0.1, wide=0.7, span=(8.0, 700.0))
    used = sigmas[sigmas > 0.01]
    assert len(used) / len(sigmas) == pytest.approx(0.7, abs=0.03)
    assert used.min() >= 8.0
    assert used.log().mean().item() == pytest.approx((math.log(8) + math.log(700)) / 2, abs=0.1)


def test_ulr_falls_when_two_views_agree():
    views = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
    other = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
    halfway = torch.nn.functional.normalize(views + other, dim=1)
    far, near, same = (unified_latent_loss(views, v).item() for v in (other, halfway, views))
    assert same < near < far


def test_ulr_rises_when_another_clip_looks_alike():
    views = torch.eye(4)
    confused = views.clone()
    confused[1] = views[0]
    assert unified_latent_loss(views, views) < unified_latent_loss(confused, views)


def test_ulr_can_be_learned():
    """Clips that differ in one pattern under noise of the same size are told apart after a few steps."""
    network = LatentTransformer(8, width=32, space=8)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    patterns = torch.randn(4, 1, 8, 4, 4)
    losses = []
    for _ in range(60):
        first, second = (network(patterns + torch.randn(4, 2, 8, 4, 4)) for _ in range(2))
        loss = unified_latent_loss(first, second)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def test_views_of_other_clips_are_negatives():
    """Of a single clip: alone 0; another clip that looks alike costs; the clip itself does not."""
    first, second = unit(1, 8), unit(1, 8)
    assert unified_latent_loss(first, second).item() == pytest.approx(0, abs=1e-6)
    alike, itself = torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
    assert unified_latent_loss(first, second, first, alike) > 0.5
    assert unified_latent_loss(first, second, -first, alike) < unified_latent_loss(first, second, first, alike)
    assert unified_latent_loss(first, second, first, itself).item() == pytest.approx(0, abs=1e-6)


def test_the_queue_gives_views_of_steps_before_without_the_clip_itself():
    queue = Negatives(space=8, size=4)
    views = [unit(2, 8) for _ in range(4)]
    clips = [torch.tensor([number, number]) for number in (5, 6, 5, 7)]
    found = [queue.others(v, c) for v, c in zip(views, clips, strict=True)]
    assert all(same.all() for _, same in found[:1]), "nothing is known before the first step"
    for known, _ in found[1:]:
        assert known.shape == (4, 8)
        assert not known.requires_grad
    assert torch.equal(found[1][0][~found[1][1][0]], views[0])
    assert torch.equal(found[2][0][~found[2][1][0]], views[1]), "clip 5 is no negative of itself"
    assert torch.equal(found[3][0][~found[3][1][0]], torch.cat([views[2], views[1]])), "the oldest have gone"


def test_ulr_is_on_with_one_clip_a_step(data):
    made = objective(build_unet(random_networks.RANDOM_UNET))
    losses = [made(draw_batch(data, DrawOptions((4,), (1,)), seed))["ulr"].item() for seed in (1, 2, 3, 4)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert min(losses[1:]) > 0.1
    assert "negatives.views" in made.state_dict(), "a checkpoint has the queue"


def test_fpl_beats_the_mean_face():
    """Features that show where a blob is: after a short training the landmarks follow it."""

    def draw(count):
        where = torch.rand(count, 1, 1, 2)
        grid = (torch.arange(8) + 0.5) / 8
        x, y = grid.view(1, 1, 1, 1, 8), grid.view(1, 1, 1, 8, 1)
        at = where.view(count, 1, 1, 1, 1, 2)
        blob = torch.exp(-((x - at[..., 0]) ** 2 + (y - at[..., 1]) ** 2) / 0.05)
        return blob.expand(-1, -1, 4, -1, -1), 0.4 * where + 0.3 + torch.zeros(count, 1, 68, 2)

    predictor = LandmarkPredictor(4, width=64)
    optimizer = torch.optim.Adam(predictor.parameters(), 2e-3)
    for _ in range(150):
        features, target = draw(32)
        loss = facial_prior_loss(predictor(features), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features, target = draw(128)
    mean_face = target.mean(dim=0, keepdim=True).expand_as(target)
    with torch.no_grad():
        assert facial_prior_loss(predictor(features), target) < 0.5 * facial_prior_loss(mean_face, target)


def test_fpl_is_a_distance():
    points = torch.rand(2, 3, 68, 2)
    assert facial_prior_loss(points, points).item() < 1e-5
    assert facial_prior_loss(points + torch.tensor([0.3, 0.4]), points).item() == pytest.approx(0.5, abs=1e-5)


def objective(unet, **weights):
    torch.manual_seed(2)
    return SVFRObjective(unet, build_projection(random_networks.RANDOM_PROJECTION), **weights)


def gradient_of(module):
    return sum(p.grad.abs().sum().item() for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("part", ["ulr", "prior"])
def test_gradients_of_a_part_reach_its_head_and_the_encoder_only(data, part):
    """Both read the middle block: what comes after it gets no gradient from them."""
    made = objective(build_unet(random_networks.RANDOM_UNET))
    batch = draw_batch(data, DrawOptions((4,), (3,), drop_both=0.0, drop_one=0.0), 1)
    tokens = made.projection(batch["grid"])
    names = ("clean", "sigma", "noise", "degraded", "reference", "task")
    velocity_loss(made.unet, DenoisingBatch(tokens=tokens, **{name: batch[name] for name in names}))
    features = made._tap.take(6)
    if part == "ulr":
        views = made.latent_transformer(features)
        unified_latent_loss(views[:3], views[3:]).backward()
    else:
        facial_prior_loss(made.landmarks(features), batch["landmarks"]).backward()
    assert gradient_of(made.unet.down_blocks) > 0
    assert gradient_of(made.unet.mid_block) > 0
    assert gradient_of(made.projection) > 0
    assert gradient_of(made.unet.up_blocks) == 0
    heads = {"ulr": made.latent_transformer, "prior": made.landmarks}
    assert gradient_of(heads.pop(part)) > 0
    assert gradient_of(next(iter(heads.values()))) == 0


def test_a_weight_of_zero_leaves_a_loss_out(data):
    made = objective(build_unet(random_networks.RANDOM_UNET), weight_ulr=0.0, weight_prior=0.0)
    losses = made(draw_batch(data, DrawOptions((4,), (3,)), 1))
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx(losses["noise"].item())
    assert losses["ulr"] > 0
    assert gradient_of(made.landmarks) == gradient_of(made.latent_transformer) == 0
    assert gradient_of(made.unet) > 0


def test_frozen_parts_stay_without_gradient(data):
    made = objective(build_unet(random_networks.RANDOM_UNET))
    made.unet.requires_grad_(False)
    made(draw_batch(data, DrawOptions((4,), (3,)), 1))["loss"].backward()
    assert gradient_of(made.unet) == 0
    assert gradient_of(made.landmarks) > 0


def test_features_are_taken_once(unet):
    tap = MiddleTap(unet)
    velocity_loss(unet, DenoisingBatch(**inputs()))
    assert tap.take(2).shape[:2] == (2, 4)
    with pytest.raises(InputError, match="run the UNet first"):
        tap.take(2)
    tap.remove()
    velocity_loss(unet, DenoisingBatch(**inputs()))
    with pytest.raises(InputError):
        tap.take(2)


def test_a_fresh_network_starts_at_zero():
    network = build_unet(random_networks.RANDOM_UNET)
    zero_start(network)
    given = inputs()
    sigma, noise, clean = given["sigma"].view(-1, 1, 1, 1, 1), given["noise"], given["clean"]
    target = (noise - sigma * clean) / (sigma**2 + 1).sqrt()
    loss = velocity_loss(network, DenoisingBatch(**given))
    assert loss.item() == pytest.approx(target.pow(2).mean().item(), rel=1e-5)


def test_batches_pair_two_degradations_of_one_clip(data):
    batch = draw_batch(data, DrawOptions((4,), (3,)), 7)
    first, second = batch["clean"].chunk(2)
    assert torch.equal(first, second)
    assert not torch.equal(*batch["sigma"].chunk(2))
    assert not torch.equal(*batch["noise"].chunk(2))
    assert not torch.equal(*batch["degraded"].chunk(2))
    assert torch.equal(*batch["clip"].chunk(2))
    assert all(torch.isin(row, data.clean[clip].float()).all() for row, clip in zip(first, batch["clip"], strict=False))
    again = draw_batch(data, DrawOptions((4,), (3,)), 7)
    assert all(torch.equal(batch[name], again[name]) for name in batch)


def test_references_and_identities_are_withheld_as_often_as_asked():
    reference, identity = draw_uses(20000, 0.4, 0.2, torch.Generator().manual_seed(0))
    neither = (~reference & ~identity).float().mean().item()
    one = (reference ^ identity).float().mean().item()
    assert neither == pytest.approx(0.4, abs=0.02)
    assert one == pytest.approx(0.6 * 0.2, abs=0.02)


def test_withheld_references_are_zero(data):
    batch = draw_batch(data, DrawOptions((4,), (3,), drop_both=1.0), 3)
    assert not batch["reference"].any()
    assert not batch["use_identity"].any()
    assert draw_batch(data, DrawOptions((4,), (3,), drop_both=0.0, drop_one=0.0), 3)["reference"].any()


def test_there_are_seven_combinations():
    assert len(set(ALL_TASKS)) == 7
    assert all(ALL_TASKS)


def test_the_tiny_network_starts_by_returning_the_degraded_clip():
    """At high noise the estimate is -v; examples with means and sizes of their own are copied to a few percent."""
    examples = torch.randn(200, 4, 16, 16) * torch.rand(200, 4, 1, 1) + torch.randn(200, 4, 1, 1) * 0.5
    network = make_objective(examples, 0.18215, 0).unet
    degraded = examples[:4].view(1, 4, 4, 16, 16)
    sample = torch.cat([torch.randn(1, 4, 4, 16, 16), degraded / 0.18215, torch.zeros(1, 4, 4, 16, 16)], dim=2)
    with torch.no_grad():
        v = network(sample, torch.tensor([1.6]), torch.zeros(1, 49, 64), added_time_ids=torch.ones(1, 3)).sample
    assert (v + degraded).pow(2).mean() < 0.06 * degraded.pow(2).mean()


def test_windows_take_turns(data):
    options = DrawOptions((4, 8), (3, 1))
    assert [draw_batch(data, options, 5, step)["clean"].shape[:2] for step in range(3)] == [(6, 4), (2, 8), (6, 4)]
