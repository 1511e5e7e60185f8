"""An HTTP server of our own for requests and answers: HTTP/1.1 and HTTP/2 on one port. Never: what a request means."""

from broker.api.web.limits import WebLimits
from broker.api.web.messages import Handler, Request, Response
from broker.api.web.server import WebServer, WebStatistics

__all__ = ["Handler", "Request", "Response", "WebLimits", "WebServer", "WebStatistics"]
