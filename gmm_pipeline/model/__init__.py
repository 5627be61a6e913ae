"""The maths, for one datum and one component; `vmap` adds every other axis."""
