"""Which crops fit a device: what the doctor says, and what was counted for it."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from support.peak import Peak

from svfr_model.base import devices
from svfr_model.networks.memory import ALLOWANCE, UNET_WEIGHTS, VAE_WEIGHTS, denoising_memory
from svfr_model.networks.unet import DiffusersBackend, build_unet
from svfr_model.networks.vae import build_vae
from svfr_model.runs import doctor
from svfr_model.runs.fits import needed_memory, rows_that_fit

GIB = 2**30
HALF = torch.float16


@pytest.fixture(scope="module")
def unet():
    """The published network without memory."""
    with torch.device("meta"):
        network = build_unet()
    return network.half().to("meta")


def test_weights_are_those_of_the_published_networks(unet):
    assert sum(weight.numel() for weight in unet.parameters()) == UNET_WEIGHTS
    with torch.device("meta"):
        assert sum(weight.numel() for weight in build_vae().parameters()) == VAE_WEIGHTS


@pytest.mark.parametrize("rows", [1, 2])
def test_the_estimate_holds_what_is_alive_at_the_peak(unet, rows):
    window, picture = (torch.empty(rows, *shape, device="meta") for shape in ((16, 4, 64, 64), (4, 64, 64)))
    tokens, task = torch.empty(rows, 49, 1024, device="meta"), torch.empty(3, device="meta")
    attention = "torch.nn.functional.scaled_dot_product_attention"
    with patch(attention, lambda query, *_, **__: query.clone()), torch.no_grad(), Peak() as peak:
        DiffusersBackend(unet)(window, 3.0, window, picture, tokens, task)
    estimate = denoising_memory(rows, 16, (64, 64), 320, HALF)
    assert 1.2 * peak.bytes < estimate < 1.1 * ALLOWANCE * peak.bytes


def test_full_size_fits_a_card_of_six_gigabytes():
    """By count, with room to spare for the driver: one row a call."""
    assert needed_memory(512, 1, HALF) < 4.6 * GIB
    assert rows_that_fit(512, HALF, int(5.5 * GIB))[0] == 1
    assert rows_that_fit(512, HALF, 6 * GIB)[0] == 2
    assert rows_that_fit(512, HALF, 4 * GIB) == (0, needed_memory(512, 1, HALF))


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (24, ["fit: ", "fit: ", "fit: "]),
        (6.0, ["fit: ", "do not fit: ", "do not fit: "]),
        (5.0, ["fit with --batch 1: ", "do not fit: ", "do not fit: "]),
    ],
)
def test_the_doctor_says_which_crops_fit(monkeypatch, free, words):
    monkeypatch.setattr(devices, "choose_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(devices, "free_memory", lambda device: int(free * GIB))
    findings = list(doctor.check_sizes())
    assert [finding.topic for finding in findings] == ["crops of 512", "crops of 768", "crops of 1024"]
    for finding, word in zip(findings, words, strict=True):
        assert finding.text.startswith(word)
        assert f"of the {free:.1f} GiB free on cuda" in finding.text
        assert (finding.state == "warning") == bool(finding.remedy) == word.startswith("do not")
