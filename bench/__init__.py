"""Reproducible benchmarks; each file says how to run it, and `make bench` runs bench/proxies."""
