"""What is said about an answer: estimates and errors, goodness of fit, recovery, the runs of a sweep together."""
