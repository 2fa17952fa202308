"""Uploads: a large file in parts, which becomes one when it is complete."""
