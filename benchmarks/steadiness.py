"""How steady stc-tiny keeps a long clip whose brightness flickers: level, joins between windows, and codes.

    python benchmarks/steadiness.py [FRAMES [OVERLAP ...]]

One drawn clip in one shot, by default 240 frames and an overlap of 8, with the level carried from window to window and
without. About a minute of one core for each overlap.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from svfr_model.stc import enhance
from svfr_model.stc.load import ROLES, load_stc
from svfr_model.stc.options import EnhanceOptions
from svfr_model.synthesis.clips import make_clip
from svfr_model.synthesis.degrade import degrade_clip
from svfr_model.tiny.stc import bundled_stc
from svfr_model.tiny.stc_evaluate import DAMAGE
from svfr_model.weights import find

SEED = 1_000_100
PART = 24
"""Frames over which the level is averaged."""


class Remembering:
    """A network that runs once for each window that it is given, and remembers the codes."""

    def __init__(self, network):
        self.network, self.known, self.seen = network, {}, []
        self.task, self.img_size, self.device = network.task, network.img_size, network.device
        self.temporal_stride = network.temporal_stride

    def __call__(self, x):
        key = x.numpy().tobytes()
        if key not in self.known:
            made, logits_s, logits_t, _ = self.network(x)
            self.known[key] = made, logits_s.argmax(2), logits_t.argmax(2)
        self.seen.append(self.known[key])
        return self.known[key]


class NotCarried(enhance.LevelCarry):
    def carried(self, results, first):
        return results


def main():
    count, *overlaps = [int(word) for word in sys.argv[1:]] or [240]
    truth = make_clip(SEED, count, 64).frames
    damaged, _ = degrade_clip(truth, DAMAGE["deflicker"], SEED)
    network = Remembering(load_stc(find(ROLES["deflicker"], [bundled_stc()]), "deflicker"))
    carried = enhance.LevelCarry
    for overlap in overlaps or [8]:
        plan = enhance.plan_windows(count, PART, overlap, network.temporal_stride)
        for name, enhance.LevelCarry in (("level carried", carried), ("not carried", NotCarried)):
            network.seen = []
            frames = enhance.enhance_whole(damaged, network, [(0, count)], EnhanceOptions(overlap=overlap))
            said = level(np.stack(list(frames)), truth, plan, overlap)
            print(f"overlap {overlap}, {len(plan)} windows, {name}: {said}")
        print(f"  codes that differ between windows over the same frames: {flipped(plan, network.seen)}")


def level(made, truth, plan, overlap):
    error = (made.astype(np.float64) - truth).mean((1, 2, 3))
    jumps, joined = np.abs(np.diff(error)), np.zeros(len(error) - 1, bool)
    for window in plan[1:]:
        joined[max(window.first - 1, 0) : window.first + overlap - 1] = True
    drift = error[-PART:].mean() - error[:PART].mean()
    at_joins, elsewhere = jumps[joined].mean(), jumps[~joined].mean()
    return f"drift {drift:+.2f}, jumps {at_joins:.2f} where windows join, {elsewhere:.2f} elsewhere"


def flipped(plan, seen):
    shares = []
    for (window, following), (before, after) in zip(itertools.pairwise(plan), itertools.pairwise(seen), strict=True):
        ahead, shared = following.first - window.first, window.last - following.first
        both = zip(before[1:], after[1:], strict=True)
        shares.append([float((one[ahead : ahead + shared] != other[:shared]).float().mean()) for one, other in both])
    spatial, temporal = np.mean(shares, axis=0)
    return f"{spatial:.2f} spatial, {temporal:.2f} temporal"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
