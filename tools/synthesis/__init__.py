"""Synthetic cases with known labels."""
