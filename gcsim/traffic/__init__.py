"""Seeded, engine-free traffic: arrivals, agent trajectories, trace readers and writers."""
