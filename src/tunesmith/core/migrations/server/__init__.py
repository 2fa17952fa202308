"""Steps of the server's store."""
