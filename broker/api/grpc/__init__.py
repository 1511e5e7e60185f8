"""The gRPC front door: ``heddle.v1`` served by grpc.aio.

Never: semantics, or errors that are not in ``status.py``'s table.
"""
