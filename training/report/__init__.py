"""Seeing what was learnt: laps driven and timed, pictures, the report."""
