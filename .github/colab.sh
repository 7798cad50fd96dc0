#!/usr/bin/env bash
# Inside Colab's image: run every page from an empty folder. The checkout is mounted, read-only, at /checkout.
set -euo pipefail
export COLAB_RELEASE_TAG="${COLAB_RELEASE_TAG:-image}"  # what the first cell knows Colab by

# The first cell clones from GitHub; what it gets is this checkout, at the ref that it asks for.
value() { python3 -c "import json; print(json.load(open('/checkout/colab/links.json'))['$1'])"; }
cp -r /checkout /tmp/repository
git config --global --add safe.directory '*'
git -C /tmp/repository checkout -q -B "$(value ref)"
git config --global "url.file:///tmp/repository.insteadOf" "https://github.com/$(value repository)"

mkdir /tmp/empty
cp /checkout/notebooks/*.ipynb /checkout/notebooks/run.py /tmp/empty
cd /tmp/empty
python3 run.py --output /tmp/pages
python3 - <<'PYTHON'
import nbformat

page = nbformat.read("/tmp/pages/01_mnist_as_a_sequence.ipynb", as_version=4)
print(page.cells[1].outputs[0].text)
PYTHON
