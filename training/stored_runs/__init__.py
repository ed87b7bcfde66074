"""Runs in a store as data: settings, policies, maps, and the data that one run takes over from another."""
