"""Measurements of the match, of the data, of training and of serving; knows no demo."""
