"""Noise models, their estimation, and the posterior."""
