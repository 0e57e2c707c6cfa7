"""Kintsugi's training platform; importing it imports and does nothing."""
