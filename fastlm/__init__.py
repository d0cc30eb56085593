"""The lazily loaded public names."""
