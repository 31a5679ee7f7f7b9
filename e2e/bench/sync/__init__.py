"""Publishing and reloading a weight set beside a plain copy and a plain read of the same bytes."""
