"""Readers of strangers' files: what rows come in (`containers`), what their keys mean (`shapes`).

`read.read_rows` is the way in: a path to `ReadRow`s, each kept, changed, refused or blank.
"""
