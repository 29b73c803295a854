"""Stand-ins whose answers are known, for testing the maths around the networks."""

from __future__ import annotations

import torch


class StubBackend:
    """Returns estimate(x, sigma, degraded, reference, tokens, task) and keeps what it was called with."""

    device = torch.device("cpu")
    token_width = 6
    size_multiple_factor = 2

    def __init__(self, estimate):
        self.estimate = estimate
        self.calls = []

    def __call__(self, x, sigma, degraded, reference, tokens, task):
        self.calls.append((x, sigma, degraded, reference, tokens, task))
        return self.estimate(x, sigma, degraded, reference, tokens, task)


class StubVAE:
    """Latents are 2x2 block means of the picture (and a zero channel); decoding repeats them."""

    factor = 2
    scaling_factor = 0.5

    def encode(self, pixels, *, full_precision=False):
        small = torch.nn.functional.avg_pool2d(pixels.float(), 2)
        return torch.cat([small, torch.zeros_like(small[:, :1])], 1)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=2.0, mode="nearest")
