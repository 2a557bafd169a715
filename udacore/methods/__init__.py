"""Methods as packages: how they are found, loaded, listed and begun."""
