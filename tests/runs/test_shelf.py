"""Networks that stay loaded from one clip to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.random_networks import write_random_weights

from svfr_model.runs import loader as load
from svfr_model.runs.loader import Loader, Shelf


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_random_weights(folder)
    return folder


def networks(loader):
    return loader.networks(self_referred=True)


def test_clips_that_need_the_same_networks_share_them(weights):
    shelf = Shelf()
    first = networks(Loader(folders=[weights], device="cpu", shelf=shelf))
    other = networks(Loader(folders=[weights], device="cpu", shelf=shelf, reference_frame="last"))
    assert other.backend is first.backend
    assert other.vae is first.vae
    assert other.referrer.encoder is first.referrer.encoder
    assert (first.referrer.choice, other.referrer.choice) == ("best", "last")
    assert networks(Loader(folders=[weights], device="cpu")).backend is not first.backend


def test_another_precision_or_threshold_is_loaded_anew(weights):
    loader = Loader(folders=[weights], device="cpu", shelf=Shelf())
    first, precise = networks(loader), networks(replace(loader, dtype="bf16"))
    assert precise.backend is not first.backend
    assert precise.backend.dtype == torch.bfloat16
    assert replace(loader, threshold=0.9).face_detector is not loader.face_detector
    assert networks(loader).backend is not first.backend  # of each kind only one is kept


def test_the_other_network_is_let_go_before_the_next_is_loaded():
    shelf, order = Shelf(), []

    class Network:
        def __init__(self, name):
            self.name = name
            order.append(f"{name} comes")

        def __del__(self):
            order.append(f"{self.name} goes")

    for name in ("a", "a", "b"):
        shelf.take("unet", name, lambda name=name: Network(name))
    assert order == ["a comes", "a goes", "b comes"]


def test_a_unet_that_left_its_card_is_not_taken_for_one_of_the_cpu(weights, monkeypatch):
    """What takes it off the card and brings it back is kept with it."""
    turned = []
    monkeypatch.setattr(load, "take_turns", lambda unet, vae: turned.append(unet) or (unet, vae))
    shelf = Shelf()
    for _ in range(2):
        Loader(folders=[weights], device="cpu", shelf=shelf).networks(self_referred=False)
    assert len(turned) == 1
