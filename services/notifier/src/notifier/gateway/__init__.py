"""Pusher: what it is told (`pushes`) and asked (`audience`) over its HTTP API (`client`), and what is signed with
the keys that it shares with us (`signatures`).
"""
