"""The AWS endpoint measured from outside as SDKs call it, beside other servers of SQS; and its calls taken apart.

One client for all servers, so that rows differ by the server only. Never: anything of gRPC.
"""
