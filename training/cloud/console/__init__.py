"""The launcher's input and output: options, answers, notices while it waits."""
