"""The surroundings of this process: its terminal and output, the user's account, systemd."""
