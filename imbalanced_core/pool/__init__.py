"""The data of one step of a ranking loss: labels, the queue of earlier batches, and the pool of both.

- `labels`: the interpretation of targets
- `queue`: the rows of earlier batches
- `subsampling`: the pool and its subsampling
- `step`: the step shared by all ranking losses
- `class_block`: classes divided among processes
- `items`: the cleaned items of each row, and means over them
"""
