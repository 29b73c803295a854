"""The reference's golden cases, run through ComfyUI's own UNet (docs/reference/svfr.md#golden)."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from svfr_pack.nodes.model import ComfyBackend
from svfr_pack.svfr_model.engine.conditioning import Conditioning
from svfr_pack.svfr_model.engine.options import RestoreOptions
from svfr_pack.svfr_model.engine.restore import Networks, Sampling, sample_pass
from svfr_pack.svfr_model.engine.windows import WindowPlan

OWN = Path(__file__).resolve().parents[2] / "golden" / "svfr"


@cache
def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@cache
def _shared(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "shared.safetensors")


def tensors(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The shared tensors whose name starts with prefix, without it."""
    return {name[len(prefix) :]: value for name, value in _shared(folder).items() if name.startswith(prefix)}


def cases(folders: tuple[Path, ...]) -> list:
    """Every case that has latents to begin with. Noise augmentation begins with others, which are not in the file."""
    return [
        pytest.param(folder, case, id=f"{'own' if folder == OWN else 'all'}-{case['name']}")
        for folder in folders
        for case in manifest(folder)["cases"]
        if case.get("finite") and not case["call"].get("aug")
    ]


def folders() -> tuple[Path, ...]:
    """Our selection, and the folder that SVFR_GOLDEN_DIR names."""
    return (OWN, Path(os.environ["SVFR_GOLDEN_DIR"])) if os.environ.get("SVFR_GOLDEN_DIR") else (OWN,)


class _Scaled:
    """All that sample_pass asks of a VAE."""

    factor = 8
    scaling_factor = 0.18215


def final_latents(patcher, folder: Path, case: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Our final latents and the reference's, (N,4,h,w) float32."""
    call, golden = case["call"], load_file(folder / case["file"])
    guided = call.get("cfg", True)
    options = RestoreOptions(
        steps=call.get("steps", 4),
        guidance=(call["gmin"], call["gmax"]) if guided else (1.0, 1.0),
        strength=call.get("i2i", 1.0),
        plan=WindowPlan(call["fpb"], call.get("overlap", 3), "reference"),
    )
    latents = golden["image_latents"].float()
    backend = ComfyBackend(patcher)
    with backend.load(call["fpb"], *latents.shape[-2:]):
        ours = sample_pass(
            Networks(backend, _Scaled()),
            latents,
            Conditioning(
                latents,
                tuple(call.get("task", [1, 0, 0])),
                golden["ref_latent"].float() if call["with_ref"] else None,
                tensors(folder, "input.")["id_embedding"][0] if call["with_id"] else None,
            ),
            options,
            sampling=Sampling(noise=golden["init_noise"][0].float()),
        )
    return ours, golden["latents_steps"][-1].float()
