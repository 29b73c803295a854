"""SVFR's networks as diffusers and PyTorch build them, and ComfyUI's names of their weights."""
