"""Faces in footage: detect, track, crop and paste back.

Nothing is imported here; take each name from its module (detect, track, crop, paste, ...).
"""
