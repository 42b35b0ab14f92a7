"""The search for a recipe: what is searched, the trials, the winner."""
