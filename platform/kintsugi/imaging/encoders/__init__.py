"""Formats that are written here, since no library writes them whole; knows no photograph."""
