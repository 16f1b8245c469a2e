"""The systems that live in the lakehouse, one folder each. None imports another."""
