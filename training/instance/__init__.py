"""Code that runs on an EC2 instance alongside the trainer: identity, attempt limit, log upload, finish."""
