"""What can be given inside a session, what it costs, and what became of it. Pure: no I/O, no clock, no ids made.

- `products`: the fixed records of gift products
- `gifts`: the price and place of a gift, and its way to sent or failed
- `projection`: what shop knows of sessions, goals and blocks, good enough to refuse early, never to decide over money
- `timing`: how long things take
"""
