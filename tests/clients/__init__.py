"""Clients that other people wrote, unmodified, against a running broker. `make test-clients` installs and runs them."""
