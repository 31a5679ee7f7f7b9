"""The passthrough program, which drains for less long than in a pod: the same steps without five seconds of waiting."""

import sys

from rewriter_sampler import passthrough, serving_process

serving_process.DRAIN_SECONDS = 1.5

if __name__ == "__main__":
    sys.exit(passthrough.main())
