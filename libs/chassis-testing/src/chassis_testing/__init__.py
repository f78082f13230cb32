"""The harness of tests: real parts, a clock and an order of one's own."""
