"""Engines behind the server: `port` says what one is, the others are ones."""
