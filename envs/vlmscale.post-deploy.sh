#!/bin/bash
# Written by requirements/lock.py for the lock with SHA-256
# bc68a39d14df2bb4f6af24e38f960881385624bc06593ff148e84867420a8c29
# As `make setup` does. TORCH chooses another build of torch, for example one for your CUDA.
set -euo pipefail
pip install --no-deps "${TORCH:-torch==2.13.0}"
pip install --no-deps -r requirements/lock.txt
pip install --no-deps --no-build-isolation --editable .
