"""Estimates what a value takes in memory once it is decoded, without making any object."""
