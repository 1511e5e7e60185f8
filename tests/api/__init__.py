"""The gRPC and HTTP doors, seen from outside: a broker in a process of its own, raw stubs and the client."""
