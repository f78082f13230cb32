"""What the vendor should do and does: `broadcast` decides, `snapshot` is one task, `rooms` says who leaves."""
