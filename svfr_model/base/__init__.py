"""The foundation: clips, tasks, pixels, errors, progress and devices."""
