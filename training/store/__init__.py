"""Keep a run's files so that nothing is ever lost; see docs/store.md."""
