"""Drivers that need no learning: pure pursuit on the racing line, follow-the-gap."""
