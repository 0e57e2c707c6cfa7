"""Where photographs come from before they are packed: folders, tars, tables, databases."""
