"""What is done when something has happened, or is due: `pushes`, `projections`, `audience`."""
