"""Methods compared on photographs and mask sets; ablations."""
