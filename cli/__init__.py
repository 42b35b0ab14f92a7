"""How every command of the project starts and ends."""

__version__ = "0.1.0"
