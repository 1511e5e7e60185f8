"""Hostile input at every rpc: no crash, no unhandled exception, no stall, no growth of memory."""
