"""What escrow does when something happened: load, decide, save.

- `holds`: money that waits for a promise, goals' answer to it, and whoever is blocked
- `verdicts`: kept or not
- `settlement`: released or refunded, slice by slice
- `wallets`: that who orders has one, and the diamonds that were bought
- `payments`: minutes and gifts, and their way back
- `books`: what keeps the ledger's sums, counts what is held, and counts all of it anew
"""
