"""UNet and VAE on one card: the UNet leaves where memory is short, and is back when it is called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from support.near import assert_near
from support.random_networks import write_random_weights

from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks, restore
from svfr_model.networks.unet import DiffusersBackend
from svfr_model.runs import turns
from svfr_model.runs.loader import Loader
from svfr_model.runs.turns import take_turns

CARD = torch.device("meta")  # a device besides the CPU that every machine has


class Unet(DiffusersBackend):
    """The UNet, of which only the place moves: its home is the card, and it computes on the CPU."""

    def __init__(self, unet):
        self.moves = []
        self.network = SimpleNamespace(
            config=unet.network.config,
            conv_in=SimpleNamespace(weight=SimpleNamespace(device=CARD)),
            to=self._move,
        )
        self._unet = unet

    def _move(self, device):
        self.moves.append(device)
        self.network.conv_in.weight.device = device

    def __call__(self, *given):
        assert self.device == CARD, "called while it was away"
        return self._unet(*given)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_random_weights(folder)
    return Loader(folders=[folder], device="cpu").networks(self_referred=False)


def restored(networks):
    pixels = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clip = restore(networks, pixels, frozenset({Task.BFR}), RestoreOptions(steps=2, passes=1))
    return torch.cat(list(clip.decode(networks.vae, RestoreOptions())))


@pytest.mark.parametrize(
    ("free", "moves"),
    [
        (2**50, []),
        # Room to encode and not to decode at once: the result is made frame by frame, with the UNet away.
        (1_000_000, [torch.device("cpu")]),
        # Not even that: away before the first picture is encoded, back for the steps, away for the last frames.
        (0, [torch.device("cpu"), CARD, torch.device("cpu")]),
    ],
)
def test_the_unet_leaves_where_memory_is_short(networks, monkeypatch, free, moves):
    expected = restored(networks)
    monkeypatch.setattr(turns, "free_memory", lambda device: free)
    unet = Unet(networks.backend)
    backend, vae = take_turns(unet, networks.vae)
    assert backend.device == CARD
    backend.device = torch.device("cpu")  # where the engine is to make its tensors, for they are real
    assert_near(restored(Networks(backend, vae)), expected, 1e-4)
    assert unet.moves == moves


def test_on_a_cpu_nothing_moves(networks):
    unet, vae = networks.backend, networks.vae
    assert take_turns(unet, vae) == (unet, vae)
