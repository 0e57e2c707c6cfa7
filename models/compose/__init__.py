"""A fill joined to its photograph: colours, gradients."""
