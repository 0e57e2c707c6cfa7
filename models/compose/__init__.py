"""A fill joined to its photograph: colours, shades, detail."""
