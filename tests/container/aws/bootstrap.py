"""AWS's own client, as its image starts it."""

import os
import sys

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
import awslambdaric.__main__ as awslambdaricmain

awslambdaricmain.main([__file__, os.environ["_HANDLER"]])
