"""How well a policy drives: laps, races, ratings, and which policy a run keeps."""
