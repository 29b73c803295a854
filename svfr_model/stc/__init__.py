"""BFVR-STC: restores or de-flickers a clip, in one forward pass per window of 24 frames."""
