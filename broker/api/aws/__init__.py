"""The AWS endpoint: unmodified SDKs talk to the planes over HTTP. Never: the semantics of a service."""
