"""BytePlus RTC: what it is told and asked (`snapshots`, `rooms`), by the client of `byteplus` (`calls`)."""
