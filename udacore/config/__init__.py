"""Settings and their files."""
