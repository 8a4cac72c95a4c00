"""The proof: train what the laws recommend, and what else people do, and say which was better.

`python -m benchmarks.proof --help` explains.
"""
