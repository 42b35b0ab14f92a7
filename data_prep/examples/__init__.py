"""Which photographs become examples, of which class, and in which split."""
