"""Start a run: the checks before it, and the resources created for it."""
