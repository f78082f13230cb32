"""What shop does when something happened: load, decide, save.

- `gifts`: what others tell of sessions, goals, blocks, and of the money of a gift
- `orders`: what others have granted of an order, and taken back
- `payments`: what gateways answer, and the sweeper that asks them
- `statements`: what gateways say that they took
"""
