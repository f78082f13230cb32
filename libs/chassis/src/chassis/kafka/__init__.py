"""The consumer: from a poll to a committed transaction, and what is parked on the way."""
