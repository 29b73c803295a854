"""Restoring the frames of one face: windows, denoiser, solvers, and the two passes."""
