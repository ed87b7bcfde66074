"""A run from its first to its last step; start reading in runner.py."""
