"""The built-in data sets, a record in each file; `pyproject.toml` names them as entry
points of `udacore.datasets`."""
