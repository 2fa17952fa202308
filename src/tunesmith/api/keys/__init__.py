"""API keys: who asks, for which project, and how much of this machine he may take."""
