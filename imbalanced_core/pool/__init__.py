"""What one step of a ranking loss looks at: labels, the queue of earlier batches, and the pool of both.

- `labels`: what targets say
- `queue`: the memory of earlier batches
- `subsampling`: the pool, and how it is cut to fewer rows
- `step`: the step that all ranking losses share
- `class_block`: the classes divided among processes
- `items`: the items of each row, cleaned once, and the means over them
- `curve`: what lies above each threshold, for the metrics
"""
