"""How good a model is: metrics, predictions, pictures, the report."""
