"""What the YAML says: strict, frozen data without behaviour, loaded with all errors at once."""
