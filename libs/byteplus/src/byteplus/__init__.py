"""BytePlus RTC, as any service that holds the credentials may use it. Reads no clock, makes no chance."""
