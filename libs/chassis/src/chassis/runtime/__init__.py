"""One process: its command line, settings, life, health and what it says of itself."""
