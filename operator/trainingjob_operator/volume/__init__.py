"""The log volume: opened once, walked by directory descriptors, never by paths.

Everything here treats the volume as hostile: trainers write to it with any rights, names are any
bytes, and anything can be swapped for a link at any moment.
"""
