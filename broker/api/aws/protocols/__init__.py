"""The wire protocols of AWS: bytes to members and back, compiled from the service models. Never: what a call means."""
