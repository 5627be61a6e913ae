"""Whatever draws: static pictures and the film of a fit, with Matplotlib, which no other room imports."""
