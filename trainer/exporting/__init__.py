"""The model in other formats: written, opened in its own runtime, compared, described."""
