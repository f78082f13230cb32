"""How any service runs: Kafka, MongoDB and HTTP, and not one business word."""
