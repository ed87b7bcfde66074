"""One kernel in the place of the simulator's."""
