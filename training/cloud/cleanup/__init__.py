"""Ends: what a run or a project leaves on AWS, and how it is removed."""
