"""Stable Video Face Restoration as a library: frames and networks in, restored frames out.

Nothing heavy is imported here; each public name is loaded from its module when it is first used.
"""
