"""Where the money is, and where it goes next. Pure: no I/O, no clock.

- `ledger`: accounts and transfers, double entry
- `escrows`: the money of one promise, and each buyer's part
- `holds`: out of the wallet, or refused
- `verdicts`: kept or not, event by event
- `settlement`: released or refunded, once
- `payments`: money that goes to a streamer at once
"""
