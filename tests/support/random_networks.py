"""Small networks of the real architecture with random weights: they restore nothing, but every step runs with them.

svfr-tiny, which does restore, is `svfr_model.tiny`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from svfr_model.networks import identity, unet, vae
from svfr_model.stc.load import ROLES
from svfr_model.stc.network import build_network
from svfr_model.weights import save, weight_file

RANDOM_UNET: dict[str, Any] = {
    "in_channels": 12,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [32, 64],
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 4],
}
RANDOM_VAE: dict[str, Any] = {
    **vae.PUBLISHED_CONFIG,
    "block_out_channels": [32, 32, 32, 32],
    "sample_size": 64,
}
"""Two layers per level, as published: ComfyUI has no counterpart for the middle of a decoder with only one."""
RANDOM_RECOGNIZER: dict[str, Any] = {"layers": [1, 1, 1, 1], "widths": [8, 16, 16, 16], "embedding_width": 512}
RANDOM_PROJECTION: dict[str, Any] = {"in_channels": 16, "out_channels": 32}
RANDOM_STC: dict[str, Any] = {
    "img_size": 64,
    "nf": 32,
    "ch_mult": [1, 1, 1, 2],
    "emb_dim": 32,
    "codebook_size": 32,
    "n_layers": 1,
}

_NETWORKS: tuple[tuple[str, Callable[[Mapping[str, Any] | None], nn.Module], dict[str, Any]], ...] = (
    (unet.ROLE, unet.build_unet, RANDOM_UNET),
    (vae.ROLE, vae.build_vae, RANDOM_VAE),
    (identity.RECOGNIZER_ROLE, identity.build_recognizer, RANDOM_RECOGNIZER),
    (identity.PROJECTION_ROLE, identity.build_projection, RANDOM_PROJECTION),
)


def write_random_weights(folder: Path | str, seed: int = 0) -> None:
    """Write a complete set of networks for SVFR, about 10 MB, under the names that `weights.find` looks for.

    The same seed gives the same files. The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for role, build, config in _NETWORKS:
            path = Path(folder) / Path(weight_file(role).name).with_suffix(".safetensors")
            save(build(config), path, role, config)


def write_random_stc_weights(folder: Path | str, seed: int = 0) -> None:
    """Write a network for each of the three BFVR-STC tasks, about 3 MB, in the same way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for task, role in ROLES.items():
            path = Path(folder) / Path(weight_file(role).name).with_suffix(".safetensors")
            save(build_network(task, RANDOM_STC), path, role, RANDOM_STC)
