"""Checks that ask the model that will be trained: its template, its tokens, its losses."""
