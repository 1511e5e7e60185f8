"""The front desk: what clients talk to. Parse, authenticate, call a plane, wait for the commit, answer.

Runs on the asyncio loop. Never: semantics (the planes have them), or an answer before the commit that it rests on.
"""
