"""Tracks: maps, centrelines, generated ones, and their names."""
