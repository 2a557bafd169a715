"""Methods as packages: found, loaded, listed and created."""
