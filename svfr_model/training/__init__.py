"""Training SVFR: procedural clips, the papers' degradations and losses, and the loops that train the networks."""
