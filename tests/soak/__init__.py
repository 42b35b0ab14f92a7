"""The same promises as in the tests, many times over: `make soak`."""
