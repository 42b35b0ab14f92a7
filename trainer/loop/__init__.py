"""What happens around the steps of `fit`: Keras callbacks, progress, signals, preemption."""
