"""What the launcher says and asks: options, answers, notices while it waits."""
