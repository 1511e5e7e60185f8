"""Crash tests: a real broker process, killed under load again and again; each acknowledged message counts."""
