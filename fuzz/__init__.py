"""Fuzz targets: functions that take any bytes and raise only when something is wrong."""
