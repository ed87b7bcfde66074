"""Access to AWS for the launcher, the store and the trainer: one session, its credentials, what to do without any."""
