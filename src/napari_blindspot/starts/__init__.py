"""Start weights: what a network knows before it has seen the stack."""
