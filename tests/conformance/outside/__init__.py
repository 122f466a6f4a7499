"""Programs that run in the environments of the suites, not in that of the tests."""
