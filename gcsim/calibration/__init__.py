"""Many runs: validation against published points, calibration on them, claims, ranges."""
