"""What every Python contender shares: the interface it fills in, and the scenarios that are timed through it.

Runs in each contender's own environment, so it needs nothing but redis-py.
"""
