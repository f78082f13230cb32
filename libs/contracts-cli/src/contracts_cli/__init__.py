"""`contracts`: what `python -m contracts` says of the events, and `tail` and `emit`, which need a broker."""
