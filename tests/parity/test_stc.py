"""BFVR-STC against its unmodified reference: keys, every golden case, pre- and post-processing.

The recorded cases: docs/reference/stc.md#golden.
"""

from __future__ import annotations

import ast
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.near import assert_near

from svfr_model.stc.frames import Framing, stretch, to_network, to_pixels
from svfr_model.stc.network import build_network, build_stage1

OWN = Path(__file__).parents[1] / "golden" / "stc"
FULL = Path(os.environ["SVFR_GOLDEN_DIR"]).parent / "stc" if os.environ.get("SVFR_GOLDEN_DIR") else None
TINY = {"ch_mult": [1, 1, 1, 2], "nf": 32, "res_blocks": 2, "attn_resolutions": [32], "emb_dim": 32}
TINY |= {"codebook_size": 32}
TOLERANCE = 1e-5
CASES = [(2, 6), (4, 6), (2, 5)]


def full(name):
    if FULL is None or not (FULL / name).exists():
        pytest.skip(f"{name} is not at hand: set SVFR_GOLDEN_DIR to the golden/svfr folder that lies beside golden/stc")
    return load_file(FULL / name)


def recipe(key, shape):
    """The weights of the tiny network, by the rule in tiny.json."""
    generator = np.random.RandomState(zlib.crc32(f"stc-tiny-21:{key}".encode()))
    values = generator.standard_normal(shape).astype(np.float32)
    if key.startswith("position_emb"):
        return 0.5 * values
    if "embedding_" in key:
        return values
    if key.endswith("bias"):
        return 0.1 * values
    if len(shape) == 1:
        return 1 + 0.1 * values
    gain = 3 if "idx_pred_layer" in key else 1
    return values * np.float32(gain / np.sqrt(np.prod(shape[1:])))


def tiny_weights(network):
    return {key: torch.from_numpy(recipe(key, tuple(value.shape))) for key, value in network.state_dict().items()}


def tiny_network(heads):
    with torch.device("meta"):
        return build_network("bfr", {**TINY, "img_size": 64, "n_head": heads, "n_layers": 2, "connect_list": ["512"]})


def published_keys(name):
    lines = [line.split("\t") for line in (OWN / f"{name}_keys.txt").read_text().splitlines() if line[0] != "#"]
    return [(key, ast.literal_eval(shape)) for key, shape, *_ in lines]


@pytest.mark.parametrize(
    ("build", "name", "count"),
    [
        (lambda: build_network("bfr"), "bfvr", 588),
        (lambda: build_network("deflicker"), "deflicker", 516),
        (lambda: build_network("deflicker_sd"), "deflicker", 516),
        (build_stage1, "stage1", 288),
    ],
    ids=["bfr", "deflicker", "deflicker_sd", "stage1"],
)
def test_full_size_keys_and_shapes_in_order(build, name, count):
    with torch.device("meta"):
        network = build()
    found = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    assert found == published_keys(name)
    assert len(found) == count


def test_heads_come_from_the_task():
    with torch.device("meta"):
        heads = {task: build_network(task).s_ft_layers[0].self_attn.heads for task in ("bfr", "deflicker")}
        assert build_network("deflicker_sd").t_ft_layers[5].self_attn.heads == 4
    assert heads == {"bfr": 2, "deflicker": 4}


class Golden:
    """The golden tiny cases: all of them, or the committed part of them."""

    def __init__(self, tensors, weights, step):
        self.tensors, self.weights, self.step = tensors, weights, step
        inputs = tensors["input_T6"]
        self.input = inputs if inputs.is_floating_point() else inputs.float() / 255

    def check(self, name, found, relative):
        """found is what the reference gave, within relative of its largest magnitude."""
        expected = self.tensors[name]
        if name.endswith("output"):
            found = found[..., :: self.step, :: self.step]
        assert_near(found, expected, relative, name.partition(".")[2])

    def codes(self, name):
        return self.tensors[name].long()


@pytest.fixture(scope="module", params=["own", "full"])
def golden(request):
    if request.param == "own":
        return Golden(load_file(OWN / "tiny_small.safetensors"), tiny_weights(tiny_network(2)), 2)
    tensors = full("tiny.safetensors")
    return Golden(tensors, {key[3:]: value for key, value in tensors.items() if key.startswith("sd.")}, 1)


def test_the_rule_gives_the_stored_weights():
    stored = {key[3:]: value for key, value in full("tiny.safetensors").items() if key.startswith("sd.")}
    made = tiny_weights(tiny_network(2))
    assert made.keys() == stored.keys()
    assert all(torch.equal(made[key], value) for key, value in stored.items())


@pytest.mark.parametrize(("heads", "frames"), CASES)
@torch.no_grad()
def test_tiny_cases(golden, heads, frames):
    network = tiny_network(heads)
    network.load_state_dict(golden.weights, strict=True, assign=True)
    output, logits_s, logits_t, latent = network(golden.input[:, :, :frames])
    case = f"nhead{heads}_T{frames}"
    codes_s, codes_t = logits_s.argmax(2), logits_t.argmax(2)
    assert torch.equal(codes_s, golden.codes(f"{case}.idx_s"))
    assert torch.equal(codes_t, golden.codes(f"{case}.idx_t"))
    golden.check(f"{case}.output", output, TOLERANCE)
    if f"{case}.logits_s" in golden.tensors:
        # Logits reach 12; the reference itself is 2.8e-5 off its own float64 run.
        golden.check(f"{case}.logits_s", logits_s, TOLERANCE)
        golden.check(f"{case}.logits_t", logits_t, TOLERANCE)
    if heads == 2:
        tokens = network.temporal_tokens(latent).transpose(0, 1)  # (T',h*w,c) -> (h*w,T',c)
        golden.check(f"{case}.encoder_out", latent, TOLERANCE)
        golden.check(f"{case}.temporal_attention", network.quantize.SA(latent), 2 * TOLERANCE)
        golden.check(f"{case}.t_tokens", tokens, TOLERANCE)
        golden.check(f"{case}.quant_feat", network.quantize(codes_s, codes_t, latent.shape), TOLERANCE)


def test_stage_1(golden):
    with torch.device("meta"):
        network = build_stage1(TINY)
    weights = {key: golden.weights[key] for key in network.state_dict()}
    network.load_state_dict(weights, strict=True, assign=True)
    output, loss, regulariser, stats = network(golden.input)
    golden.check("stage1_T6.output", output, TOLERANCE)
    assert torch.equal(stats["min_encoding_indices_s"], golden.codes("stage1_T6.idx_s"))
    assert torch.equal(stats["min_encoding_indices_t"], golden.codes("stage1_T6.idx_t"))
    # The numbers of tiny.json.
    assert_near(loss, 2.19774580, 1e-6, "loss")
    assert_near(regulariser, 5.3458e-08, 0.1, "regulariser")
    assert_near(stats["perplexity_s"], 14.825139, 1e-6, "perplexity_s")
    assert_near(stats["perplexity_t"], 16.190081, 1e-6, "perplexity_t")


def reference_input(frames_bgr):
    framing = Framing(*frames_bgr.shape[1:3], 512, "squash")
    rgb = frames_bgr.numpy()[..., ::-1]
    pictures = np.stack([framing.pad(framing.fit(np.ascontiguousarray(frame))) for frame in rgb])
    return to_network(torch.from_numpy(pictures).permute(0, 3, 1, 2))  # NHWC -> NCHW


def test_preprocessing_exactly():
    golden = load_file(OWN / "prepost_small.safetensors")
    found = reference_input(golden["decoded_bgr_frames_0_11_23"])
    assert found.shape == (1, 3, 3, 512, 512)
    assert torch.equal(found[..., ::4, ::4], golden["model_input_every_4th"].float() / 255)


def test_preprocessing_of_the_whole_clip_exactly():
    golden = full("prepost.safetensors")
    found = reference_input(golden["decoded_bgr_frames"])
    assert found.shape == (1, 3, 24, 512, 512)
    assert torch.equal(found[:, :, [0, 11, 23]], golden["model_input_uint8_frames_0_11_23"].float() / 255)


def test_postprocessing_exactly():
    golden = load_file(OWN / "prepost_small.safetensors")
    values = golden["post_input"]
    found = to_pixels(stretch(values, values.min(), values.max()))[0].permute(1, 2, 3, 0)  # CTHW -> THWC
    assert torch.equal(found.flip(-1), golden["post_output_bgr"])  # RGB -> BGR
