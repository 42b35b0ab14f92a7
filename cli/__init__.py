"""How every command of the project starts and ends."""
