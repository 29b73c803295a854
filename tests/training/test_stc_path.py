"""The way for gradients through BFVR-STC's networks: equal to inference and to the reference, with right gradients."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.near import assert_near
from torch.nn import functional as F

from svfr_model.stc.network import build_network, build_stage1
from svfr_model.training import stc_path
from svfr_model.training.dino import DinoV2, Discriminator
from svfr_model.training.stc_losses import (
    CodebooksObjective,
    CodesObjective,
    adversarial_losses,
    codebook_loss,
    prior_loss,
)

SIZES = {"ch_mult": [1, 1, 1, 2], "nf": 32, "emb_dim": 32, "codebook_size": 32}
SHAPE = {**SIZES, "img_size": 32, "n_head": 2, "n_layers": 2, "connect_list": []}


def clips(count, frames=4, side=32, seed=0):
    return torch.rand((count, 3, frames, side, side), generator=torch.Generator().manual_seed(seed))


def stage1(seed=0):
    torch.manual_seed(seed)
    return build_stage1(SIZES)


def restorer(seed=0, **config):
    torch.manual_seed(seed)
    network = build_network("bfr", {**SHAPE, **config})
    torch.nn.init.normal_(network.position_emb_s)
    torch.nn.init.normal_(network.position_emb_t)
    return network


def test_stage_one_equals_inference_clip_by_clip():
    network, shown = stage1(), clips(2)
    with torch.no_grad():
        z = stc_path.encode(network, shown)
        found = stc_path.quantise(network.quantize, z)
        made = stc_path.decode(network, stc_path.straight_through(z, found.latent))
        for index in range(2):
            expected, loss, _, stats = network(shown[index : index + 1].clone())
            assert_near(made[index : index + 1], expected, 1e-5)
            assert torch.equal(found.codes_s[index], stats["min_encoding_indices_s"])
            assert torch.equal(found.codes_t[index], stats["min_encoding_indices_t"])
            alone = codebook_loss(z[index], found.latent[index], "code")
            assert_near(alone, loss, 1e-5)


@pytest.mark.parametrize("residual", ["published", "frames"])
def test_stage_two_equals_inference_clip_by_clip(residual):
    network, shown = restorer(residual=residual), clips(2)
    with torch.no_grad():
        z = stc_path.encode(network, shown)
        logits_s, logits_t = stc_path.predict(network, z)
        for index in range(2):
            _, expected_s, expected_t, latent = network(shown[index : index + 1].clone())
            assert_near(z[index : index + 1], latent, 1e-5)
            assert_near(logits_s[index], expected_s, 1e-4)
            assert_near(logits_t[index], expected_t, 1e-4)


def test_the_residuals_differ_and_the_straight_one_is_what_changed():
    network, z = restorer(residual="frames"), torch.randn(1, 32, 3, 4, 4)
    attended = network.quantize.SA(z)
    tokens = network.temporal_tokens(z) - attended.permute(0, 2, 3, 4, 1).reshape(3, 16, 32)
    expected = z[0].permute(1, 2, 3, 0).reshape(3, 16, 32).diff(dim=0, prepend=tokens[:1] * 0)
    assert_near(tokens[1:], expected[1:], 1e-5)
    assert tokens[0].abs().max() < 1e-5
    network.residual = "published"
    assert (network.temporal_tokens(z) - attended.permute(0, 2, 3, 4, 1).reshape(3, 16, 32) - tokens).abs().max() > 0.1


def test_the_golden_case_of_stage_one(root):
    """The reference's own numbers, through the way for gradients."""
    import parity.test_stc as parity

    golden = load_file(root / "tests" / "golden" / "stc" / "tiny_small.safetensors")
    with torch.device("meta"):
        network = build_stage1(parity.TINY)
    weights = parity.tiny_weights(parity.tiny_network(2))
    network.load_state_dict({key: weights[key] for key in network.state_dict()}, strict=True, assign=True)
    shown = golden["input_T6"]
    shown = shown if shown.is_floating_point() else shown.float() / 255
    with torch.no_grad():
        z = stc_path.encode(network, shown)
        found = stc_path.quantise(network.quantize, z)
        made = stc_path.decode(network, stc_path.straight_through(z, found.latent))
    assert_near(made[..., ::2, ::2], golden["stage1_T6.output"], 1e-5)
    assert torch.equal(found.codes_s[0], golden["stage1_T6.idx_s"].long())
    assert torch.equal(found.codes_t[0], golden["stage1_T6.idx_t"].long())
    assert_near(codebook_loss(z, found.latent, "code"), torch.tensor(2.19774580), 1e-5)
    prior = prior_loss(found.use_s, "code") + prior_loss(found.use_t, "code")
    assert_near(0.1 * prior, torch.tensor(5.3458e-08), 0.1)


@pytest.mark.parametrize("part", ["encoder", "generator", "attention"])
def test_gradients_of_the_smooth_blocks_are_right(part):
    torch.manual_seed(0)
    network = stage1().double()
    if part == "attention":
        blocks, x = None, torch.randn(1, 32, 2, 2, 2, dtype=torch.double)
    else:
        blocks = {"encoder": network.encoder, "generator": network.generator}[part]
        x = torch.randn((1, 3, 4, 16, 16) if part == "encoder" else (1, 32, 2, 1, 1), dtype=torch.double)

    def forward(value):
        if blocks is None:
            return stc_path.temporal_attention(network.quantize.SA, value)
        return stc_path.run(blocks, value)

    x.requires_grad_(True)
    assert torch.autograd.gradcheck(forward, (x,), fast_mode=True)


def test_activations_computed_again_give_the_same_gradients():
    network, shown = stage1(), clips(1)

    def gradients(recompute):
        network.zero_grad()
        stc_path.encode(network, shown, recompute=recompute).square().mean().backward()
        return [parameter.grad.clone() for parameter in network.encoder.parameters()]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        assert_near(one, other, 1e-6)


def test_the_straight_through_gradient_is_that_of_its_formula():
    network = stage1()
    z = torch.randn(1, 32, 2, 4, 4, requires_grad=True)
    found = stc_path.quantise(network.quantize, z)
    passed = stc_path.straight_through(z, found.latent)
    assert_near(passed, found.latent, 1e-5)
    weights = torch.randn_like(passed)
    (gradient,) = torch.autograd.grad((passed * weights).sum(), z)
    assert torch.equal(gradient, weights)


def test_the_codebook_loss_is_equation_seven():
    z, latent = torch.randn(2, 3), torch.randn(2, 3)
    z.requires_grad_(True)
    latent.requires_grad_(True)
    to_z, to_latent = torch.autograd.grad(codebook_loss(z, latent, "paper"), (z, latent))
    assert_near(to_z, 0.25 * 2 * (z - latent).detach() / 6, 1e-6)
    assert_near(to_latent, 2 * (latent - z).detach() / 6, 1e-6)
    to_z, to_latent = torch.autograd.grad(codebook_loss(z, latent, "code"), (z, latent))
    assert_near(to_z, 2 * (z - latent).detach() / 6, 1e-6)
    assert_near(to_latent, 0.25 * 2 * (latent - z).detach() / 6, 1e-6)


def test_the_prior_is_the_divergence_from_even_use():
    even, one = torch.full((8,), 1 / 8), torch.tensor([1.0] + [0.0] * 7)
    assert prior_loss(even, "paper").abs() < 1e-6
    assert_near(prior_loss(one, "paper"), torch.tensor(np.log(8), dtype=torch.float32), 1e-5)
    half = torch.tensor([0.5, 0.5] + [0.0] * 6)
    assert_near(prior_loss(half, "paper"), torch.tensor(np.log(4), dtype=torch.float32), 1e-5)
    assert 0 < prior_loss(one, "code") < 0.1


def test_the_prior_moves_the_books_and_the_temporal_attention():
    network, shown = stage1(), clips(1)
    found = stc_path.quantise(network.quantize, stc_path.encode(network, shown))
    (prior_loss(found.use_s, "paper") + prior_loss(found.use_t, "paper")).backward()
    for parameter in network.quantize.parameters():
        assert parameter.grad is not None
    for parameter in (network.quantize.embedding_t.weight, network.quantize.SA.proj_out.weight):
        assert parameter.grad.abs().max() > 0


def test_stage_one_trains_encoder_books_and_generator():
    objective = CodebooksObjective(stage1(), "paper")
    losses = objective(clips(1))
    losses["loss"].backward()
    idle = [name for name, parameter in objective.named_parameters() if parameter.grad is None]
    assert idle == []
    told = sum(float(losses[name]) for name in ("pixels", "perceptual", "codes", "prior"))
    assert float(losses["loss"].detach()) == pytest.approx(told, rel=1e-5)


def test_stage_two_leaves_books_generator_and_teacher_alone():
    network = restorer(residual="frames")
    objective = CodesObjective(network, stage1(1).encoder, 0.5)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    frozen = {name for name, parameter in objective.named_parameters() if not parameter.requires_grad}
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], 1e-2)
    losses = objective(clips(1), clips(1, seed=1))
    losses["loss"].backward()
    optimizer.step()
    after = objective.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == frozen
    roots = {".".join(name.split(".")[:2]) for name in frozen}
    assert roots == {"network.generator", "network.quantize", "network.s_feat_emb", "network.t_feat_emb"} | {
        name for name in roots if name.startswith("teacher.")
    }
    told = 10 * float(losses["feature"]) + 0.5 * float(losses["entropy_s"] + losses["entropy_t"])
    assert float(losses["loss"].detach()) == pytest.approx(told, rel=1e-5)


def test_the_teachers_codes_are_stage_ones():
    """Whatever the network's own encoder has become, every target is the teacher's code."""
    network, books = restorer(1, residual="frames"), stage1()
    assert not torch.equal(network.encoder.blocks[0].weight, books.encoder.blocks[0].weight)
    network.quantize.load_state_dict(books.quantize.state_dict())
    shown = clips(1)
    seen = []
    network.predict_s = lambda tokens: F.one_hot(seen.pop(0), 32).float() * 100
    network.predict_t = lambda tokens: F.one_hot(seen.pop(0), 32).float() * 100
    with torch.no_grad():
        _, _, _, stats = books(shown.clone())
        seen += [stats["min_encoding_indices_s"], stats["min_encoding_indices_t"]]
        losses = CodesObjective(network, books.encoder, 1.0)(shown, shown)
    assert float(losses["right_s"]) == float(losses["right_t"]) == 1.0
    assert float(losses["entropy_s"]) < 1e-6


def test_the_discriminator_and_the_clip_pull_apart():
    torch.manual_seed(0)
    discriminator = Discriminator(DinoV2(24, 1, 2), 24)
    made, truth = torch.rand(2, 3, 28, 28, requires_grad=True), torch.rand(2, 3, 28, 28)
    fooled, told_apart = adversarial_losses(discriminator, made, truth)
    heads = list(discriminator.heads.parameters())
    assert torch.autograd.grad(fooled, heads, allow_unused=True, retain_graph=True) == (None,) * 6
    assert torch.autograd.grad(fooled, made)[0].abs().max() > 0
    assert torch.autograd.grad(told_apart, made, allow_unused=True, retain_graph=True) == (None,)
    weights = [head.weight for head in discriminator.heads]  # biases cancel out where nothing exceeds the hinge
    assert all(gradient.abs().max() > 0 for gradient in torch.autograd.grad(told_apart, weights))
    scores = discriminator(truth)
    assert scores.shape == (6,)
    assert float(fooled) == pytest.approx(-float(discriminator(made).mean()), rel=1e-5)


def test_dinos_positions_are_interpolated_and_its_names_are_the_published_ones():
    network = DinoV2()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["pos_embed"] == (1, 1370, 384)
    assert shapes["blocks.11.attn.qkv.weight"] == (1152, 384)
    assert {"cls_token", "mask_token", "patch_embed.proj.bias", "blocks.0.ls1.gamma", "norm.weight"} <= set(shapes)
    assert sum(value.numel() for value in network.parameters()) == 22_056_576
    with torch.no_grad():
        network.pos_embed[:, 1:] = 3.0
        assert network._positions(torch.zeros(1, 384, 16, 16))[:, 1:].sub(3).abs().max() < 1e-5
        assert network._positions(torch.zeros(1, 384, 16, 16)).shape == (1, 257, 384)
