"""AWS: a laptop's requests to it, and its notices to an instance. Depends on neither torch nor the simulator."""
