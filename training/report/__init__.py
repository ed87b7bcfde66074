"""Show the results of training: laps driven and timed, pictures, the report."""
