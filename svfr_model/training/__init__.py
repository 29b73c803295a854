"""Training and fine-tuning SVFR: the papers' losses, clips from footage, and the training loop."""
