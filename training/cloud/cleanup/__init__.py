"""Cleanup: the resources that a run or a project leaves on AWS, and their removal."""
