"""What a service has asked to be woken for, and what wakes it."""
