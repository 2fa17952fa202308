"""Jobs at OpenAI → their files and settings on this machine, and the same jobs trained here."""
