"""AWS: what a laptop asks of it, and what an instance hears from it. Knows neither torch nor the simulator."""
