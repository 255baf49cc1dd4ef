"""Benchmarks of bullrush side by side with its peers: ``python -m benchmarks --help``."""
