"""Prepares the environments of the test suites and runs them; plain Python, so that it starts on a bare machine."""
