"""Stand-ins whose answers are known, for testing the maths around the networks."""

from __future__ import annotations

import torch

from svfr_model.engine.restore import Networks
from svfr_model.engine.self_reference import SelfReference
from svfr_model.networks.identity import Identity


class StubBackend:
    """Returns estimate(x, sigma, degraded, reference, tokens, task) and keeps what it was called with.

    What a call goes without reaches estimate as zeros, as it does a network, and is None in `calls`.
    """

    device = torch.device("cpu")
    token_width = 6
    size_multiple_factor = 2

    def __init__(self, estimate):
        self.estimate = estimate
        self.calls = []

    def __call__(self, x, sigma, degraded, reference, tokens, task):
        self.calls.append((x, sigma, degraded, reference, tokens, task))
        reference = torch.zeros_like(x[:, 0]) if reference is None else reference
        tokens = torch.zeros(len(x), 5, self.token_width) if tokens is None else tokens
        return self.estimate(x, sigma, degraded, reference, tokens, task)

    @property
    def guided(self):
        """The calls with identity tokens."""
        return [call for call in self.calls if call[4] is not None]


class StubVAE:
    """Latents are 2x2 block means of the picture (and a zero channel); decoding repeats them."""

    factor = 2
    scaling_factor = 0.5

    def encode(self, pixels, *, full_precision=False):
        small = torch.nn.functional.avg_pool2d(pixels.float(), 2)
        return torch.cat([small, torch.zeros_like(small[:, :1])], 1)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=2.0, mode="nearest")


class StubReferrer:
    """Chooses frame 1 and knows its identity; keeps what it was shown."""

    identity = Identity(torch.full((5, 6), 2.0), torch.ones(512))

    def __call__(self, frames, landmarks=None):
        self.frames, self.landmarks = frames, landmarks
        return SelfReference(frames[1], 1, self.identity, 0.5)


def networks_of(estimate=None, referrer=None):
    """Networks that find the degraded clip perfect, unless told otherwise."""
    scaled = StubVAE.scaling_factor
    backend = StubBackend(estimate or (lambda x, sigma, degraded, *_: degraded * scaled))
    return Networks(backend, StubVAE(), referrer)


def clip(count, size=8):
    """Frames of constant colour in 2x2 blocks, so that the stub VAE loses nothing."""
    small = torch.randint(0, 256, (count, 3, size // 2, size // 2), dtype=torch.uint8)
    return small.repeat_interleave(2, -1).repeat_interleave(2, -2)
