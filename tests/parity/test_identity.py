"""Face recognition and projection, number for number with the reference's classes (docs/reference/svfr.md#golden)."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.near import assert_near

from svfr_model.networks.identity import PUBLISHED_RECOGNIZER, IdentityEncoder, build_projection, build_recognizer

OWN = Path(__file__).parents[1] / "golden" / "svfr"
FOLDERS = {"own": OWN}
if os.environ.get("SVFR_GOLDEN_DIR"):
    FOLDERS["all"] = Path(os.environ["SVFR_GOLDEN_DIR"])
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=FOLDERS.values(), ids=FOLDERS.keys())
def golden(request):
    facts = json.loads((request.param / "face_embed.json").read_text())
    return load_file(request.param / "face_embed.safetensors"), facts["sha256_first16"]


def formula_weights(shapes):
    """The weights that face_embed.json defines by a formula, so that they need not be stored."""
    weights = {}
    for key, value in shapes.items():
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.zeros_like(value)
            continue
        generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
        r = generator.standard_normal(tuple(value.shape), dtype=np.float32)
        if r.ndim >= 2:
            r = r / np.sqrt(np.float32(np.prod(r.shape[1:])))
        elif key.endswith("running_var"):
            r = 1 + 0.2 * np.abs(r)
        elif key.endswith(("running_mean", ".bias")):
            r = 0.1 * r
        elif key.endswith("prelu.weight"):
            r = 0.25 + 0.05 * r
        else:
            r = 1 + 0.1 * r
        if key.endswith("bn3.weight"):
            r = r * 0.3
        weights[key] = torch.from_numpy(np.asarray(r, dtype=np.float32))
    return weights


def check_hashes(weights, hashes):
    assert hashes
    for key, expected in hashes.items():
        assert hashlib.sha256(weights[key].numpy().tobytes()).hexdigest()[:16] == expected, key


def published_projection(hashes):
    projection = build_projection()
    weights = formula_weights(projection.state_dict())
    check_hashes(weights, hashes["id_proj_512_1024"])
    projection.load_state_dict(weights)
    return projection


@pytest.mark.parametrize(("name", "layers"), [("iresnet18", [2, 2, 2, 2]), ("iresnet100", [3, 13, 30, 3])])
def test_recognizer(golden, name, layers):
    tensors, hashes = golden
    network = build_recognizer({**PUBLISHED_RECOGNIZER, "layers": layers})
    weights = formula_weights(network.state_dict())
    check_hashes(weights, hashes[name])
    network.load_state_dict(weights)
    faces = tensors["arc_in"]
    with torch.no_grad():
        grid, embedding = network(faces)
    assert_near(grid, tensors[f"{name}.layer4"], TOLERANCE, "grid")
    assert_near(embedding, tensors[f"{name}.embedding"], TOLERANCE, "embedding")
    expected = tensors[f"{name}.embedding"]
    found = IdentityEncoder(network, published_projection(hashes)).embed(faces)
    assert_near(found, expected / expected.norm(dim=1, keepdim=True), TOLERANCE, "unit embedding")


@pytest.mark.parametrize(("given", "expected"), [("iresnet18.layer4", "out"), ("id_proj.rand_in", "rand_out")])
def test_projection(golden, given, expected):
    tensors, hashes = golden
    with torch.no_grad():
        found = published_projection(hashes)(tensors[given])
    assert_near(found, tensors[f"id_proj.{expected}"], TOLERANCE)


def test_tiny_projection(golden):
    tensors, _ = golden
    prefix = "id_proj_tiny."
    projection = build_projection({"in_channels": 512, "out_channels": 32})
    projection.load_state_dict({key: tensors[prefix + key] for key in projection.state_dict()})
    with torch.no_grad():
        found = projection(tensors["id_proj.rand_in"])
    assert_near(found, tensors[prefix + "rand_out"], TOLERANCE)
