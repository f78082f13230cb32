"""The system as outsiders see it, and the stories played on it: for the demo, the e2e tests and the benchmarks."""
