"""Start a run: what is checked before it, and what is made for it."""
