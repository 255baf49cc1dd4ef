"""Dates, times and durations as extension payloads."""
