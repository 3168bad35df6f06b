#!/bin/bash
# Written by requirements/lock.py for the lock with SHA-256
# bc35b553b21334fb5e1ae472aab4cccadf34d02d3ab7ce6a4e0962c9e465b2f0
# As `make setup` does. TORCH chooses another build of torch, for example one for your CUDA.
set -euo pipefail
pip install --no-deps "${TORCH:-torch==2.13.0}"
pip install --no-deps -r requirements/lock.txt
pip install --no-deps --no-build-isolation --editable .
