"""Command line of the supervisor."""

import sys

from proctor_site.embedded.supervisor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
