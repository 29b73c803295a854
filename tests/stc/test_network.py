"""BFVR-STC's layers against plain torch, and what the network refuses. Parity with the reference is in parity/."""

from __future__ import annotations

import pytest
import torch
from support.near import assert_near
from torch import nn
from torch.nn import functional as F

from svfr_model.base.errors import InputError
from svfr_model.stc import blocks
from svfr_model.stc.blocks import (
    Conv,
    DownSpaceTime,
    SelfAttention,
    SpaceTimeAttention,
    TemporalAttention,
    attend,
    convolve,
    group_norm,
)
from svfr_model.stc.network import build_network, build_stage1

REDUCED = {"img_size": 64, "ch_mult": [1, 1, 1, 2], "emb_dim": 32, "codebook_size": 32, "connect_list": ["512"]}

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=[1, 3 * 32 * 8 * 8, 2**24], ids=["one frame", "three frames", "all"])
def piece(request, monkeypatch):
    monkeypatch.setattr(blocks, "PIECE", request.param)


def close(found, expected):
    assert_near(found, expected, 1e-5)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_convolution_in_pieces_equals_the_whole(frames):
    x = 3 * torch.randn(1, 64, frames, 8, 8) + 1
    conv, norm = Conv(64, 32), group_norm(64)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    plain = nn.Conv3d.forward
    close(conv(x), plain(conv, x))
    close(convolve(conv, x, norm=norm), plain(conv, F.silu(norm(x))))
    base = torch.randn(1, 32, frames, 8, 8)
    close(convolve(conv, x, norm=norm, add_to=base.clone()), base + plain(conv, F.silu(norm(x))))
    for grow in ((1, 2, 2), (2, 2, 2)):
        close(convolve(conv, x, grow=grow), plain(conv, F.interpolate(x, scale_factor=grow)))


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("frames", [2, 3, 8, 9])
def test_halving_pads_the_end_of_each_axis(frames):
    x, layer = torch.randn(1, 32, frames, 8, 8), DownSpaceTime(32)
    close(layer(x), F.conv3d(F.pad(x, (0, 1, 0, 1, 0, 1)), layer.conv.weight, layer.conv.bias, stride=2))


def explicit(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1) @ v


def test_attention_in_runs_equals_the_whole(monkeypatch):
    q, k, v = torch.randn(3, 1, 2, 50, 16)
    monkeypatch.setattr(blocks, "QUERIES", 7)
    close(attend(q, k, v), explicit(q, k, v))


def test_space_time_attention_is_joint_and_has_a_shortcut():
    x, layer = torch.randn(1, 32, 3, 4, 4), SpaceTimeAttention(32)
    y = layer.norm(x)
    q, k, v = (part(y).flatten(2).transpose(1, 2) for part in (layer.q, layer.k, layer.v))
    expected = x + layer.proj_out(explicit(q, k, v).transpose(1, 2).view_as(x))
    close(layer(x.clone()), expected)


def test_temporal_attention_keeps_positions_apart_and_has_no_shortcut():
    x, layer = torch.randn(1, 32, 3, 4, 4), TemporalAttention(32)
    y = layer.norm(x)
    q, k, v = (part(y).permute(0, 3, 4, 2, 1) for part in (layer.q, layer.k, layer.v))
    expected = layer.proj_out(explicit(q, k, v).permute(0, 4, 3, 1, 2))
    close(layer(x), expected)


@pytest.mark.parametrize("heads", [2, 4])
def test_self_attention_equals_torchs(heads):
    theirs, ours = nn.MultiheadAttention(32, heads, batch_first=True), SelfAttention(32, heads)
    nn.init.normal_(theirs.in_proj_bias)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    query, value = torch.randn(2, 3, 20, 32)
    close(ours(query, value), theirs(query, query, value, need_weights=True)[0])


def test_the_whole_network_does_not_depend_on_the_pieces(monkeypatch):
    network = build_network("bfr", {**REDUCED, "n_layers": 1})
    x = torch.rand(1, 3, 7, 64, 64)
    whole = network(x)
    monkeypatch.setattr(blocks, "PIECE", 1)
    for found, expected in zip(network(x), whole, strict=True):
        close(found, expected)


def test_the_input_stays_whole_and_odd_clips_lose_their_last_frame():
    network = build_network("bfr", {**REDUCED, "n_layers": 1})
    x = torch.rand(1, 3, 5, 64, 64)
    before = x.clone()
    output, logits_s, logits_t, latent = network(x)
    assert torch.equal(x, before)
    assert output.shape == (1, 3, 4, 64, 64)
    assert logits_s.shape == logits_t.shape == (2, 64, 32)
    assert latent.shape == (1, 32, 2, 8, 8)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 1, 64, 64), "at least 2 frames"),
        ((1, 3, 0, 64, 64), "at least 2 frames"),
        ((2, 3, 4, 64, 64), "one by one"),
        ((3, 4, 64, 64), "1,3,T,H,W"),
        ((1, 3, 4, 64, 72), "64x64"),
        ((1, 3, 4, 32, 32), "64x64"),
    ],
)
def test_inputs_it_cannot_take(shape, said):
    with pytest.raises(InputError, match=said):
        build_network("bfr", {**REDUCED, "n_layers": 1})(torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong",
    [
        {"nf": 33},
        {"emb_dim": 40},
        {"img_size": 60},
        {"n_head": 3},
        {"n_layers": 0},
        {"codebook_size": 0},
        {"ch_mult": []},
        {"connect_list": ["1024"]},
        {"no_such_size": 1},
    ],
    ids=str,
)
def test_sizes_that_make_no_network(wrong):
    with pytest.raises(InputError):
        build_network("bfr", {**REDUCED, **wrong})


def test_unknown_tasks_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="bfr, deflicker, deflicker_sd"):
        build_network("restore")


@pytest.mark.parametrize(("size", "found"), [((32, 32), (32, 32)), ((64, 128), (64, 128)), ((60, 60), (64, 64))])
def test_stage_1_takes_any_size(size, found):
    network = build_stage1({"ch_mult": [1, 1, 1, 2], "emb_dim": 32, "codebook_size": 32})
    assert network(torch.rand(1, 3, 2, *size))[0].shape[-2:] == found
