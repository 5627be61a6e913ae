"""Static pictures and the animation of a fit, drawn with Matplotlib, which no other package imports."""
