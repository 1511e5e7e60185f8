"""Benchmarks: what the broker does a second, beside what it is made of and what people use today.

A load generator here is as cheap as it can be (payloads packed once, bytes passed through), so that a figure says
something of the server; a row states its durability in words, and checks that what was acknowledged is what was sent.
Never: a path around the public API of the broker, or a figure of a run that lost a message.
"""
