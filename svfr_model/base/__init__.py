"""What everything else stands on: clips, tasks, pixels, errors, progress, devices."""
