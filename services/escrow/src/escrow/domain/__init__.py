"""Where the money is, and where it goes next. Pure: no I/O, no clock.

- `ledger`: accounts and transfers, double entry
- `escrows`: holds, answers, verdicts and settlement
- `payments`: money that goes to a streamer at once
"""
