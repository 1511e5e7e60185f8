"""An HTTP server of our own for requests and answers: HTTP/1.1 and HTTP/2 on one port. Never: what a request means."""

from broker.api.web.messages import Handler, Request, Response

__all__ = ["Handler", "Request", "Response"]
