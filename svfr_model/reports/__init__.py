"""What each preset does with the weights and on the machine at hand, measured and written as one page."""
