"""Pictures of a track and the cars on it: for the environments' render modes and for the report's films."""
