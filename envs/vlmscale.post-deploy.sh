#!/bin/bash
# Written by requirements/lock.py for the lock with SHA-256
# 41bfab832b49c5161d8675c8c22e35afb7cc55fd862bf1d74e816caaabe3c918
# As `make setup` does. TORCH chooses another build of torch, for example one for your CUDA.
set -euo pipefail
pip install --no-deps "${TORCH:-torch==2.13.0}"
pip install --no-deps -r requirements/lock.txt
pip install --no-deps --no-build-isolation --editable .
