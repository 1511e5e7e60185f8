"""What goes wrong around a broker: each failure is a clear error, and nothing acknowledged is lost."""
