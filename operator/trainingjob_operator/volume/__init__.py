"""Access to the log volume: opened once, then traversed by directory descriptors, never by paths.

All code here treats the volume as hostile. Trainers write to it with any rights, file names are
arbitrary bytes, and any entry can be replaced by a symbolic link at any moment.
"""
