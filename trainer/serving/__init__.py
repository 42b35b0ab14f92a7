"""The model behind HTTP: a page to drop photographs on, and an API."""
