"""Families of components: the places that know the shape of a datum and of a component's parameters."""
