"""Push what a workspace has built: `python -m tests.orchestration.push FOLDER`, for tests that need it as a process."""

import sys
from pathlib import Path

from tests.orchestration import graphs

if __name__ == "__main__":
    graphs.build(Path(sys.argv[1]), push=True)
