"""AWS's own client, as its image starts it."""

import os
import sys

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
from awslambdaric.__main__ import main

main([__file__, os.environ["_HANDLER"]])
