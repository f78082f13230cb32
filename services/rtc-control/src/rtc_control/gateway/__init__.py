"""BytePlus RTC: what it is told and asked (`snapshots`, `rooms`) over its API (`client`), and tells (`callbacks`)."""
