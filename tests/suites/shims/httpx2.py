"""Named by the tests of Mangum that need LocalStack; nothing here, as those do not get so far."""
