"""Proves bytes to be well-formed MessagePack without making any object."""
