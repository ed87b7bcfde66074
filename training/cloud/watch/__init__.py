"""Follow a run from the laptop: its state, its machines, what AWS says of its fleet."""
