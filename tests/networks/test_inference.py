"""What is left out of diffusers' UNet: the same numbers, with less work."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from support.near import assert_near
from support.random_networks import RANDOM_UNET
from torch.utils.flop_counter import FlopCounterMode

from svfr_model.networks.unet import PUBLISHED_CONFIG, build_unet

ROWS, FRAMES, HEIGHT, WIDTH, TOKENS = 2, 5, 4, 6, 49
NOTHING = 1e-15


def plain_unet(config):
    """The network as diffusers runs it."""
    network = UNetSpatioTemporalConditionModel(**config)
    network.set_attn_processor(AttnProcessor2_0())
    return network.eval()


@pytest.fixture(scope="module")
def networks():
    """diffusers' own network and ours, with the same random weights; blends apart from one half too."""
    torch.manual_seed(0)
    plain, ours = plain_unet(RANDOM_UNET), build_unet(RANDOM_UNET)
    for name, parameter in plain.named_parameters():
        torch.nn.init.normal_(parameter.data, std=0.5 if "mix_factor" in name else 0.1)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def inputs(rows=ROWS, frames=FRAMES, size=(HEIGHT, WIDTH), width=RANDOM_UNET["cross_attention_dim"], device="cpu"):
    """What the network is called with: sample, time, tokens, task."""
    return (
        torch.randn(rows, frames, 12, *size, device=device),
        torch.tensor(0.3, device=device),
        torch.randn(rows, TOKENS, width, device=device),
        torch.ones(rows, 3, device=device),
    )


@torch.no_grad()
def run(network, given):
    return network(*given, return_dict=False)[0]


def test_it_computes_what_diffusers_does(networks):
    plain, ours = networks
    given = inputs()
    assert_near(run(ours, given), run(plain, given), 1e-5)


def test_rows_keep_their_own_tokens(networks):
    _, ours = networks
    sample, time, tokens, task = inputs()
    together = run(ours, (sample, time, tokens, task))
    for row in range(ROWS):
        one = slice(row, row + 1)
        assert_near(run(ours, (sample[one], time, tokens[one], task[one])), together[one], 1e-5)
    assert (run(ours, (sample, time, tokens.flip(0), task)) - together).abs().max() > 1e-3


def test_no_tokens_are_zero_tokens(networks):
    plain, ours = networks
    sample, time, tokens, task = inputs()
    none = run(ours, (sample, time, tokens[:, :0], task))
    assert torch.equal(none, run(ours, (sample, time, torch.zeros_like(tokens), task)))
    assert_near(none, run(plain, (sample, time, torch.zeros_like(tokens), task)), 1e-5)


def test_gradients_are_those_of_diffusers(networks):
    """In float64: some gradients are nothing but rounding, as those of a bias before a normalisation."""
    plain, ours = (copy.deepcopy(network).double() for network in networks)
    given = [value.double() for value in inputs()]
    for network in (plain, ours):
        network(*given, return_dict=False)[0].square().mean().backward()
    for (name, theirs), found in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert theirs.grad is not None, name
        if theirs.grad.abs().max() > NOTHING:
            assert_near(found.grad, theirs.grad, 1e-6, name)
        assert found.grad.abs().max() > NOTHING or theirs.grad.abs().max() <= NOTHING, name


def counted(network, given):
    with FlopCounterMode(display=False) as counter:
        run(network, given)
    return counter.get_total_flops()


def test_full_size_takes_that_much_less_work():
    """A window of 16 frames of 512x512: 22.69 TFLOP before, less 10.2% with tokens and 14.3% without."""
    with torch.device("meta"):
        plain, ours = plain_unet(PUBLISHED_CONFIG).to("meta"), build_unet().to("meta")
    sample, time, tokens, task = inputs(1, 16, (64, 64), 1024, "meta")
    before = counted(plain, (sample, time, tokens, task))
    assert before == pytest.approx(22.69e12, rel=1e-3)
    assert counted(ours, (sample, time, tokens, task)) / before == pytest.approx(0.898, abs=1e-3)
    assert counted(ours, (sample, time, tokens[:, :0], task)) / before == pytest.approx(0.857, abs=1e-3)
