"""Ray as it is: which Ray a sweep uses, its nodes, whether it is alive."""
