"""Decoding frame by frame: the numbers of decoding at once, in a third of the memory, and where memory is short."""

from __future__ import annotations

import logging

import pytest
import torch
from support.near import assert_near
from support.peak import Peak
from support.random_networks import RANDOM_VAE

from svfr_model.networks import vae as networks_vae
from svfr_model.networks.memory import ALLOWANCE, encoding_memory
from svfr_model.networks.streaming import decode_streamed
from svfr_model.networks.vae import DiffusersVAE, build_vae

GIB = 2**30
SMALL = {**RANDOM_VAE, "block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D"] * 2}


@pytest.fixture(scope="module")
def vae():
    """Random, with norms and blends that differ from layer to layer."""
    torch.manual_seed(0)
    network = build_vae(SMALL)
    for name, weight in network.named_parameters():
        if "norm" in name or name.endswith("mix_factor"):
            weight.data += 0.5 * torch.randn_like(weight)
    return DiffusersVAE(network)


@pytest.fixture(scope="module")
def full_size():
    """The published network without memory, in half precision."""
    with torch.device("meta"):
        network = build_vae()
    return DiffusersVAE(network.half().to("meta"))


@pytest.fixture
def free(monkeypatch):
    """A function that says how many bytes are free."""
    return lambda count: monkeypatch.setattr(networks_vae, "free_memory", lambda device: count)


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def streamed(vae, latents):
    return vae._decode_streamed(latents.to(vae.device, vae.dtype))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_numbers_are_those_of_decoding_at_once(vae, count):
    latents = 5 * torch.randn(count, 4, 6, 4)
    whole = vae._decode_whole(latents)
    assert whole.shape == (count, 3, 12, 8)
    assert_near(streamed(vae, latents), whole, 5e-5)


def test_a_clip_with_one_bright_frame_is_normalised_over_all_frames(vae):
    """Frames whose means lie far apart: their own variances do not make the clip's."""
    latents = torch.randn(5, 4, 4, 4)
    latents[3] = 40
    assert_near(streamed(vae, latents), vae._decode_whole(latents), 5e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-2), (torch.bfloat16, 8e-2)])
def test_half_precision_is_as_near_to_float32_as_at_once(vae, dtype, tolerance):
    latents = torch.randn(3, 4, 4, 4)
    exact = vae._decode_whole(latents)
    half = DiffusersVAE(build_vae(SMALL).to(dtype))
    half.network.load_state_dict(vae.network.state_dict())
    assert_near(streamed(half, latents), exact, tolerance)


def test_full_size_takes_two_and_a_half_gibibytes(full_size):
    """16 frames of 512x512 in half precision; at once they take eight. The estimates are a little above."""
    latents = torch.empty(16, 4, 64, 64, device="meta", dtype=torch.float16)
    with Peak() as whole:
        full_size._decode_whole(latents)
    with Peak() as less:
        assert streamed(full_size, latents).shape == (16, 3, 512, 512)
    assert whole.bytes == pytest.approx(8.0 * GIB, rel=0.01)
    assert less.bytes < 2.35 * GIB
    assert less.bytes < whole.bytes / 3
    for peak, is_streamed in ((whole.bytes, False), (less.bytes, True)):
        estimate = full_size.decoding_memory(latents.shape, streamed=is_streamed)
        assert 1.1 * peak < estimate < 1.1 * ALLOWANCE * peak


def test_in_a_real_run_it_takes_a_third(vae):
    latents = torch.randn(16, 4, 4, 4)
    with Peak("cpu") as whole:
        vae._decode_whole(latents)
    with Peak("cpu") as less:
        streamed(vae, latents)
    assert less.bytes < whole.bytes / 3


@pytest.mark.parametrize(("count", "full_precision"), [(1, False), (2, True)])
def test_the_estimate_of_encoding_holds_what_is_alive_at_the_peak(full_size, count, full_precision):
    with Peak() as peak:
        full_size.encode(torch.empty(count, 3, 512, 512, device="meta"), full_precision=full_precision)
    dtype = torch.float32 if full_precision else torch.float16
    assert 1.1 * peak.bytes < encoding_memory(count, (512, 512), 128, dtype) < 2 * peak.bytes


def test_it_is_chosen_where_memory_is_short(vae, free, monkeypatch):
    calls = []

    def spied(decoder, latents):
        calls.append(len(latents))
        return decode_streamed(decoder, latents)

    monkeypatch.setattr(networks_vae, "decode_streamed", spied)
    latents = torch.randn(3, 4, 4, 4)
    needed = vae.decoding_memory(latents.shape)
    free(needed)
    whole = vae.decode(latents)
    assert not calls
    free(needed - 1)
    assert_near(vae.decode(latents), whole, 5e-5)
    assert calls == [3]


def test_running_out_of_memory_is_answered_by_it(vae, free, monkeypatch, caplog):
    latents = torch.randn(3, 4, 4, 4)
    whole = vae._decode_whole(latents)

    def fails(_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    free(2**60)
    monkeypatch.setattr(vae, "_decode_whole", fails)
    with caplog.at_level(logging.WARNING):
        assert_near(vae.decode(latents), whole, 5e-5)
    assert "Out of memory with 3 frames" in caplog.text


def test_other_errors_are_not_taken_for_it(vae, free):
    free(2**60)
    with pytest.raises(RuntimeError, match="channels"):
        vae.decode(torch.zeros(3, 5, 4, 4))
