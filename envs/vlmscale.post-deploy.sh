#!/bin/bash
# Written by requirements/lock.py for the lock with SHA-256
# aecba46e004b208495cedb8dc7842a6b64f5f7c238e38bd195a48d39c8e0f9ff
# As `make setup` does. TORCH chooses another build of torch, for example one for your CUDA.
set -euo pipefail
pip install --no-deps "${TORCH:-torch==2.13.0}"
pip install --no-deps -r requirements/lock.txt
pip install --no-deps --no-build-isolation --editable .
