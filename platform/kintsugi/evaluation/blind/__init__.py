"""Sheets on which people compare two methods without knowing which is which."""
