"""Runs in a store as data: settings, policies, maps; what one run takes over from another."""
