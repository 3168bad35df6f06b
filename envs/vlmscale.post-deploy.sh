#!/bin/bash
# Written by requirements/lock.py for the lock with SHA-256
# f646c347c114fc1f12c2d206ca18162d1a2dc52a8507b599ba7f46ea266a3777
# As `make setup` does. TORCH chooses another build of torch, for example one for your CUDA.
set -euo pipefail
pip install --no-deps "${TORCH:-torch==2.13.0}"
pip install --no-deps -r requirements/lock.txt
pip install --no-deps --no-build-isolation --editable .
