"""The local stack: real MongoDB, Kafka, soketi, gateway and the services, as processes on loopback.

`Stack` is the way in for tests; `python -m devstack` (or `devstack`) for people.
"""
