"""What shop does when something happened: load, decide, save.

- `gifts`: what others tell of sessions, goals, blocks, and of the money of a gift
- `orders`: whether an order is paid, and what was granted of it
"""
