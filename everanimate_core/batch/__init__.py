"""Many runs over many machines: a list of jobs, who makes which, and what has become of them."""
