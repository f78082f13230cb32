"""What is done when something has happened, is due, or was answered: `snapshots`, `rooms`."""
