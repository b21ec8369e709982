"""Many runs to one answer: one question, one module."""
