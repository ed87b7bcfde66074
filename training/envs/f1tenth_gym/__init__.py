"""The f1tenth_gym package as a back end, and its state for exact resumes."""
