"""Drawn clips and degraded clips: for training, tests, the demonstration and the node Degrade."""
