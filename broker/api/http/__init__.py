"""The HTTP port: health and metrics. Never: messages."""
