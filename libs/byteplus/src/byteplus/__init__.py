"""BytePlus RTC, as any service that holds the credentials may use it. Pure: reads no clock and makes no chance."""
