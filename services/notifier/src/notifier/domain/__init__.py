"""What is pushed where, and who may listen. Pure: no I/O, no clock, no ids made.

- `table`: SPEC §6, a row per push, with who sees what of it; `fields`: the lists of names that are seen
- `shows`: when a show or a 1-on-1 lets somebody watch; its ticket holders are told in slices
- `throttle`: progress at most every 250 ms
- `pushes`: what one push is made of
- `heads`: how many watch; `cuts`: whose connection is cut when a permission ends
- `channels`: their names, and whose they are; `entitlement`: who may listen there
"""
