"""Clips that are drawn, and clips that are damaged: for tests, training, demonstrations and the node Degrade."""
