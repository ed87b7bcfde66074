"""What runs on an EC2 instance beside the trainer: identity, attempt limit, log upload, finish."""
