"""Studies: every arm under the same conditions, from one file to one answer."""
