"""`make bench`: the BFF's two doors beside other proxies that log people in, and beside one that does not.

Everything runs on this machine in one run: each proxy under test alone on one core, the load generator, the backend,
Redis, the provider and the decision point on the other. docs/explanation/performance.md tells how to read the figures.
"""
