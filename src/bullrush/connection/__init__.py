"""Connections: what they are made of, and how the compiled core gets hold of one."""
