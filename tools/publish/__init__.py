"""`make publish`: the layers of each Python and architecture, in one account and several regions of AWS.

A dry run unless it is confirmed. Nothing is remembered here: what is published already is read from AWS, so that a run
that failed midway is run again. In layers.py are the zips, in region.py the calls of AWS, in table.py the ARNs.
"""
