"""Start weights: clean volumes that never were, for networks to learn from."""
