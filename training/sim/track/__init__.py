"""Tracks: maps, centrelines, generated ones, and the names that they go by."""
