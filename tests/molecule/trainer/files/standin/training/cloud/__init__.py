"""A trainer of forty lines that behaves as the contract of the units says."""
