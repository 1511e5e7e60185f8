"""The HTTP server of the AWS endpoint: real sockets, raw bytes, h2 as the other side of HTTP/2."""
