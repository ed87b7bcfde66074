"""Pure requests to AWS, and what reads its answers."""
