"""What can be given and bought, what it costs, and what became of it. Pure: no I/O, no clock, no ids made.

- `products`: the fixed records of gift products
- `gifts`: the price and place of a gift, and its way to sent or failed
- `orders`, `payments`, `trips`: what is bought with money, what its gateway is asked, and the browser's way there
- `fulfilment`, `backpack`, `refunds`: what of it is granted, used, and taken back
- `reconciliation`: our orders against what gateways list
- `projection`: what shop knows of sessions, goals and blocks, good enough to refuse early, never to decide over money
- `timing`: how long things take
"""
