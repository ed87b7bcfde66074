"""A web server in the place of TensorBoard."""
