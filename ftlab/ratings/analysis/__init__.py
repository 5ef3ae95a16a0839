"""What a batch of ratings says, and how far to trust it: figures in numpy, and the report made of them."""
