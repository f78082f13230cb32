"""Events that wait to be published, and what publishes them."""
