"""What f1tenth-fetch reads of the code."""

IMAGE_INTERFACE = 2
