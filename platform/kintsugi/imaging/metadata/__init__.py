"""What a photograph's file says next to its pixels: read, corrected, written; knows no pixels."""
