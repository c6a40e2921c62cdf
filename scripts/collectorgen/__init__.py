"""Complete collector configurations out of one typed description: the collector replaces lists when it merges files."""
