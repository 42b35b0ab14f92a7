"""The model of transfer learning: a backbone with a new head, weights, loss, learning rate."""
