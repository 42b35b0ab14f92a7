"""The network: a backbone with a new head, its weights, loss and learning rate, its memory."""
