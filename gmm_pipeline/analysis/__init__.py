"""What an answer says: estimates and their errors, goodness of fit, recovery, what the runs of a sweep say together."""
