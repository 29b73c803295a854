"""svfr-tiny: what trains it, what measures it, the demonstration with it, and random networks of its kind."""
